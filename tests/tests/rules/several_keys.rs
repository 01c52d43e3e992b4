//! A history of many keys, judged by one thread and by several.

use harness::checker::linearizable::{Action, Budget, Operation, Values, Verdict, check};

/// Puts and gets one after the other; a bad key ends with a read of its first value.
fn key(values: &mut Values, name: usize, is_bad: bool) -> Vec<Operation> {
    let mut operations = Vec::new();
    for round in 0..500_u64 {
        let value = values.number(&format!("{name}-{round}"));
        let at = |action, us| Operation { process: 0, action, call_us: us, return_us: us + 5 };
        operations.push(at(Action::Put(value), round * 20));
        operations.push(at(Action::Get(value), round * 20 + 10));
    }
    if is_bad {
        let stale = values.number(&format!("{name}-0"));
        operations.push(Operation {
            process: 0,
            action: Action::Get(stale),
            call_us: 20_000,
            return_us: 20_001,
        });
    }
    operations
}

#[test]
fn several_threads_find_what_one_finds() {
    let mut values = Values::default();
    for bad in [&[][..], &[70], &[93, 31, 70]] {
        let keys: Vec<_> = (0..100).map(|it| key(&mut values, it, bad.contains(&it))).collect();
        let verdict = |jobs| check(&keys, &values, Budget { jobs, ..Budget::default() });
        let alone = verdict(1);
        match &alone {
            Verdict::NotLinearizable { key } => assert_eq!(Some(key), bad.iter().min()),
            Verdict::Linearizable => assert!(bad.is_empty()),
            Verdict::Undecided { .. } => panic!("this is easy"),
        }
        for _ in 0..5 {
            assert_eq!(verdict(4), alone);
        }
    }
}
