//! Whatever is in a file: it is a history, which is then judged, or it is refused with its line.
#![no_main]

use std::{path::Path, time::Duration};

use harness::{
    checker::linearizable::{Budget, check},
    history::values::{Model, parse},
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match parse(bytes, Path::new("fuzzed"), Model::Kv) {
        Ok(history) => {
            let time = Duration::from_secs(1);
            let budget = Budget { steps: 10_000, time, ..Budget::default() };
            check(&history.keys, &history.values, budget);
        }
        Err(error) => assert!(format!("{error:#}").starts_with("fuzzed:"), "{error:#}"),
    }
});
