//! Making a failing run small: fewer faults, fewer operations, the same failure.

use std::{collections::BTreeSet, iter};

use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::index::sample};

use super::runner::Runner;
use crate::{
    fabric::fault::{Entry, Trigger},
    simulation::{Plan, Report},
    workload::script::Turn,
};

/// With how many seeds something smaller is tried when few faults are left. Without one of them all
/// that follows happens at other times, and what was a race may just miss: another seed, other
/// times.
const SEEDS: u64 = 8;

/// How many faults a person can keep in mind; with more, some of them are drawn
const FEW: usize = 4;
/// so often.
const DRAWS: u64 = 200;

/// A run made small.
pub struct Shrunk {
    /// What it is made from now.
    pub plan: Plan,
    /// What comes of it.
    pub report: Report,
    /// How many runs it took.
    pub runs: usize,
}

/// Looks for the smallest plan that fails like `plan`: by delta debugging (Zeller and Hildebrandt
/// 2002) over its faults, then over what its clients do. Each step is verified by a run.
///
/// # Errors
/// When the plan does not fail, or the runner does not run.
pub fn shrink(plan: &Plan, runner: &mut Runner) -> Result<Shrunk> {
    let first = runner.run(plan, None)?;
    ensure!(first.failed(), "this run does not fail: there is nothing to shrink");
    let mut shrinker = Shrinker { first: first.clone(), runner, runs: 1, seeds: 1 };
    let mut best = (plan.clone(), first);
    shrinker.calm_down(&mut best)?;
    shrinker.drop_faults(&mut best)?;
    shrinker.draw_few(&mut best)?;
    shrinker.write_down_turns(&mut best)?;
    loop {
        let before = size(&best.0);
        shrinker.drop_turns(&mut best)?;
        shrinker.seeds = SEEDS;
        shrinker.drop_faults(&mut best)?;
        shrinker.seeds = 1;
        if size(&best.0) == before {
            break;
        }
    }
    let (plan, report) = best;
    Ok(Shrunk { plan, report, runs: shrinker.runs })
}

fn size(plan: &Plan) -> (usize, usize) {
    (plan.schedule.len(), plan.turns.as_ref().map_or(usize::MAX, Vec::len))
}

/// A plan that fails, and how.
type Failing = (Plan, Report);

struct Shrinker<'a> {
    first: Report,
    runner: &'a mut Runner,
    runs: usize,
    /// With how many seeds each plan is tried.
    seeds: u64,
}

impl Shrinker<'_> {
    /// Takes `plan` for the best one if it still fails in the same way.
    fn try_plan(&mut self, plan: Plan, best: &mut Failing) -> Result<bool> {
        for other in 0..self.seeds {
            let plan = Plan { seed: plan.seed.wrapping_add(other), ..plan.clone() };
            self.runs += 1;
            let report = self.runner.run(&plan, None)?;
            if report.fails_like(&self.first) {
                *best = (plan, report);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A quick network, a quick disk.
    fn calm_down(&mut self, best: &mut Failing) -> Result<()> {
        let calm = Plan { latency_ms: 1, ..best.0.clone() };
        self.try_plan(calm, best)?;
        let mut calm = best.0.clone();
        calm.scenario.disk_delay_ms = [0, 0];
        self.try_plan(calm, best)?;
        Ok(())
    }

    fn drop_faults(&mut self, best: &mut Failing) -> Result<()> {
        // Those that never struck are of no use, whatever else is.
        let struck = |place: &usize| best.1.struck.iter().any(|struck| struck.entry == *place);
        let places: Vec<_> = (0..best.0.schedule.len()).filter(struck).collect();
        let schedule = only(&best.0.schedule, &places);
        self.try_plan(Plan { schedule, ..best.0.clone() }, best)?;
        let schedule = best.0.schedule.clone();
        let places: Vec<usize> = (0..schedule.len()).collect();
        minimise(places, |kept| {
            let plan = Plan { schedule: only(&schedule, kept), ..best.0.clone() };
            self.try_plan(plan, best)
        })
    }

    /// What is left may need all its faults only to make one race happen that some other seed has
    /// with fewer.
    fn draw_few(&mut self, best: &mut Failing) -> Result<()> {
        let (schedule, seed) = (best.0.schedule.clone(), best.0.seed);
        let mut random = StdRng::seed_from_u64(seed);
        for other in 1..=DRAWS {
            if best.0.schedule.len() <= FEW {
                break;
            }
            let few = only(&schedule, &draw_chains(&schedule, &mut random));
            let plan = Plan { seed: seed.wrapping_add(other), schedule: few, ..best.0.clone() };
            self.try_plan(plan, best)?;
        }
        Ok(())
    }

    /// From what the clients do as it comes to what they did.
    fn write_down_turns(&mut self, best: &mut Failing) -> Result<()> {
        let turns = best.1.turns.clone();
        self.try_plan(Plan { turns: Some(turns), ..best.0.clone() }, best)?;
        Ok(())
    }

    fn drop_turns(&mut self, best: &mut Failing) -> Result<()> {
        let Some(turns) = best.0.turns.clone() else { return Ok(()) };
        minimise(turns, |kept: &[Turn]| {
            let plan = Plan { turns: Some(kept.to_vec()), ..best.0.clone() };
            self.try_plan(plan, best)
        })
    }
}

/// The entries of `schedule` at `places`, without those that follow one that is gone.
fn only(schedule: &[Entry], places: &[usize]) -> Vec<Entry> {
    let mut new_places = vec![None; schedule.len()];
    let mut kept: Vec<Entry> = Vec::new();
    for place in places {
        let mut entry = schedule[*place].clone();
        if let Trigger::Message { after: Some(after), .. } = &mut entry.when {
            let Some(new_place) = new_places[*after] else { continue };
            *after = new_place;
        }
        new_places[*place] = Some(kept.len());
        kept.push(entry);
    }
    kept
}

/// The places of at most [`FEW`] entries of `schedule`, each with all that it follows.
fn draw_chains(schedule: &[Entry], random: &mut StdRng) -> Vec<usize> {
    let most = random.random_range(0..=FEW);
    let mut drawn = BTreeSet::new();
    for place in sample(random, schedule.len(), schedule.len()) {
        let follows = |place: &usize| match schedule[*place].when {
            Trigger::Message { after, .. } => after,
            Trigger::AtMs(_) => None,
        };
        let mut more = drawn.clone();
        more.extend(iter::successors(Some(place), follows));
        if more.len() <= most {
            drawn = more;
        }
    }
    drawn.into_iter().collect()
}

/// Tries ever smaller parts of `items`, and what is left without them, until no single one can be
/// left out. `still_fails` says whether a selection will do.
fn minimise<T: Clone>(
    items: Vec<T>,
    mut still_fails: impl FnMut(&[T]) -> Result<bool>,
) -> Result<()> {
    let mut items = items;
    if items.is_empty() || still_fails(&[])? {
        return Ok(());
    }
    let mut parts = 2;
    while items.len() > 1 {
        let length = items.len().div_ceil(parts);
        let mut smaller = None;
        for start in (0..items.len()).step_by(length) {
            let end = (start + length).min(items.len());
            let rest = [&items[..start], &items[end..]].concat();
            if still_fails(&rest)? {
                smaller = Some(rest);
                break;
            }
        }
        match smaller {
            Some(rest) => {
                items = rest;
                parts = (parts - 1).max(2);
            }
            None if length == 1 => break,
            None => parts = (parts * 2).min(items.len()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_it_takes() {
        let mut runs = 0;
        let mut best = Vec::new();
        minimise((0..400).collect(), |kept: &[i32]| {
            runs += 1;
            let fails = [17, 18, 250].iter().all(|needed| kept.contains(needed));
            if fails {
                best = kept.to_vec();
            }
            Ok(fails)
        })
        .unwrap();
        assert_eq!(best, [17, 18, 250]);
        assert!(runs < 150, "{runs}");
    }
}
