//! Drawing what to explore: wider than a grade does, and each time with only some kinds of faults
//! (swarm testing: Groce, Zhang, Eide, Chen and Regehr, 2012), since each kind hides others.

use std::collections::BTreeSet;

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{
    cluster::simulated::store::DiskKind,
    fabric::{
        fault::{Aim, Kind, Mode, Phase, Shape},
        schedule::{self, FaultSpec, NamedNodes, Nodes, Spread},
    },
    lab::{Milestone, Scenario},
    simulation::Plan,
};

/// Every kind of fault there is.
const KINDS: [Kind; 9] = [
    Kind::Kill,
    Kind::Pause,
    Kind::Cut,
    Kind::DropRequest,
    Kind::DropReply,
    Kind::Refuse,
    Kind::Duplicate,
    Kind::Delay,
    Kind::Hold,
];
/// The most that a message takes, in milliseconds: mostly little, and not much where the disk is
/// slow as well. Clients would not wait for both, and their asking again and again is a storm that
/// nobody promised to weather.
const LATENCIES_MS: [u64; 5] = [1, 1, 2, 5, 10];
const LATENCY_BESIDE_DISK_MS: u64 = 2;
/// How long bytes wait before they are durable, in milliseconds, besides what the scenario says.
const DISK_DELAYS_MS: [u64; 4] = [0, 1, 5, 30];
/// How long the calm before the faults lasts at least, in milliseconds: a slow network and a slow
/// disk need more of it than a scenario's own.
const FIRST_CALM_MS: u64 = 1000;
/// The largest cluster; a scenario's own size is the most frequent.
const LARGE: usize = 5;

/// What schedules are drawn from.
pub struct Source<'a> {
    /// Milestones and scenarios.
    scenarios: Vec<(&'a Milestone, &'a Scenario)>,
    /// The methods of the lab's services.
    methods: Vec<String>,
    disk: DiskKind,
}

/// Something to explore.
pub struct Drawn {
    /// The milestone whose scenario was widened.
    pub milestone: String,
    /// The plan.
    pub plan: Plan,
}

impl<'a> Source<'a> {
    /// Everything that the `milestones` of one lab try, on nodes with this kind of disk.
    ///
    /// # Errors
    /// When a workload cannot be loaded.
    pub fn new(milestones: &[&'a Milestone], disk: DiskKind) -> anyhow::Result<Self> {
        let of = |milestone: &&'a Milestone| {
            let milestone: &'a Milestone = milestone;
            milestone.scenario.iter().map(move |scenario| (milestone, scenario))
        };
        let scenarios: Vec<_> = milestones.iter().flat_map(of).collect();
        let mut methods = BTreeSet::new();
        for (_, scenario) in &scenarios {
            methods.extend(scenario.load_workload()?.decoder().method_names());
        }
        Ok(Self { scenarios, methods: methods.into_iter().collect(), disk })
    }

    /// What the seed `seed` explores.
    ///
    /// # Errors
    /// When a workload cannot be loaded.
    pub fn draw(&self, seed: u64) -> anyhow::Result<Drawn> {
        let mut random = StdRng::seed_from_u64(seed);
        let (milestone, base) = self.scenarios.choose(&mut random).expect("a lab has scenarios");
        let workload = base.load_workload()?;
        let mut scenario = Scenario { faults: Vec::new(), ..(*base).clone() };
        // What must never happen must not happen here.
        scenario.checks = workload.checks().iter().map(|check| (*check).to_owned()).collect();
        let storm_ms = scenario.duration_ms.saturating_sub(scenario.calm_ms.iter().sum());
        scenario.calm_ms[0] = scenario.calm_ms[0].max(FIRST_CALM_MS);
        scenario.calm_ms[1] = scenario.calm_ms[1].max(workload.recovers_within_ms());
        scenario.duration_ms = scenario.calm_ms.iter().sum::<u64>() + storm_ms.max(1000);
        if random.random_bool(0.15) {
            scenario.nodes = scenario.nodes.max(LARGE);
        }
        if random.random_bool(0.5) {
            scenario.clients = random.random_range(2..=scenario.clients.max(2) + 3);
        }
        if random.random_bool(0.5) {
            let most = *DISK_DELAYS_MS.choose(&mut random).expect("there are some");
            scenario.disk_delay_ms = [if random.random_bool(0.5) { 0 } else { most }, most];
        }
        let mut latency_ms = *LATENCIES_MS.choose(&mut random).expect("there are some");
        if scenario.disk_delay_ms[1] > 0 {
            latency_ms = latency_ms.min(LATENCY_BESIDE_DISK_MS);
        }
        let mut specs = some_of(&base.faults, &mut random);
        specs.extend(self.swarm(scenario.nodes, &mut random));
        let (nodes, window_ms) = (scenario.node_names(), scenario.fault_window_ms());
        let schedule = schedule::draw(&specs, &nodes, window_ms, random.random());
        let disk = self.disk;
        let plan = Plan { scenario, seed, latency_ms, disk, schedule, turns: None };
        Ok(Drawn { milestone: milestone.id.clone(), plan })
    }

    /// Faults of some kinds, aimed at anything.
    fn swarm(&self, nodes: usize, random: &mut StdRng) -> Vec<FaultSpec> {
        let share = random.random_range(0.0..0.5);
        let kinds: Vec<_> = KINDS.into_iter().filter(|_| random.random_bool(share)).collect();
        kinds.into_iter().map(|kind| self.fault(kind, nodes, random)).collect()
    }

    fn fault(&self, kind: Kind, nodes: usize, random: &mut StdRng) -> FaultSpec {
        let aimed = kind.is_on_message() || random.random_bool(0.5);
        let phase = if random.random_bool(0.5) { Phase::Request } else { Phase::Reply };
        let method = self.methods.choose(random).expect("a service has methods").clone();
        let shapes = [Shape::Both, Shape::Outgoing, Shape::Incoming, Shape::Bridge];
        let longest_ms = *[30, 150, 600].choose(random).expect("there are some");
        let on_nodes = match random.random_range(0..4) {
            0 => Nodes::Named(NamedNodes::All),
            1 if aimed => Nodes::Named(NamedNodes::Sender),
            2 if aimed => Nodes::Named(NamedNodes::Receiver),
            _ => Nodes::Count(random.random_range(1..=nodes.div_ceil(2))),
        };
        FaultSpec {
            aim: aimed.then(|| Aim { phase, ..Aim::at(method) }),
            nodes: on_nodes,
            times: random.random_range(1..=if kind.is_on_message() { 6 } else { 3 }),
            spread: Spread::UpTo(random.random_range(1..=30)),
            for_ms: [1, longest_ms],
            delay_ms: [1, longest_ms],
            shape: *shapes.choose(random).expect("there are some"),
            mode: *[Mode::Silent, Mode::Hold, Mode::Reset].choose(random).expect("there are some"),
            ..FaultSpec::of(kind)
        }
    }
}

/// Most of `specs`, and not as often; what follows a fault that is left out is left out, too.
fn some_of(specs: &[FaultSpec], random: &mut StdRng) -> Vec<FaultSpec> {
    let mut kept: Vec<FaultSpec> = Vec::new();
    for spec in specs {
        let anchored = |after: &String| kept.iter().any(|it| it.id.as_ref() == Some(after));
        if spec.after.as_ref().is_none_or(anchored) && random.random_bool(0.85) {
            kept.push(FaultSpec { times: random.random_range(1..=spec.times), ..spec.clone() });
        }
    }
    kept
}
