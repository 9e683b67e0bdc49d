//! Any answer equals itself and is compared with answers of every kind.
#![no_main]

use cord_math::{DEFAULT_FUEL, Ground, equal};

libfuzzer_sys::fuzz_target!(|answer: &str| {
    if let Ok(found) = equal(answer, answer, DEFAULT_FUEL) {
        assert_eq!(found, Some(Ground::Spelling));
    }
    for other in ["1", "x", r"\sin x", "(1,2)", r"\{1,2\}", "x>2", "x=y", r"5 \text{ cm}", "3:30", "B", "three", r"\begin{pmatrix}1\\2\end{pmatrix}"] {
        let _ = equal(answer, other, DEFAULT_FUEL);
        let _ = equal(other, answer, DEFAULT_FUEL);
    }
});
