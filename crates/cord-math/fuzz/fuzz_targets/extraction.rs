//! No response panics or hangs, whatever the rules and the language.
#![no_main]

use cord_math::{Language, Rules, Settings, Start, extract, grade, last_number};

libfuzzer_sys::fuzz_target!(|response: &str| {
    last_number(response);
    for start in [Start::Plain, Start::Thinking] {
        extract(response, start);
        for rules in [Rules::Boxed, Rules::Announced, Rules::Any] {
            for language in Language::ALL {
                let settings = Settings { start, rules, language, fuel: 100_000, ..Settings::default() };
                assert!(grade("1", response, &settings).fuel <= settings.fuel);
            }
        }
    }
});
