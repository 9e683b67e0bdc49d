//! Trajectories are measured by whatever scorer, whoever chose them.

mod world;

use cord_core::Seed;
use cord_generate::{CurationSettings, RandomScore, SearchSettings, measure};
use futures::executor::block_on;
use world::{World, beam, generator, perplexity, problem, settings, solve};

#[test]
fn under_the_scorer_that_chose_it_the_measure_is_the_score() {
    for key in 0..20 {
        let world = World { random: true, ..World::new(key) };
        let prover = perplexity(world.prover());
        for search in [beam(3), SearchSettings::Curation(CurationSettings::default())] {
            let found = solve(&generator(&world, &["a", "b", "c"], settings(search), None)).unwrap();
            for one in &found.trajectories {
                let measured = block_on(measure(&problem("p"), one, prover.as_ref())).unwrap();
                assert_eq!(measured.value, one.score, "world {key}: {}", one.response);
                let other = RandomScore::new(Seed::root(key));
                let other = block_on(measure(&problem("p"), one, &other)).unwrap();
                assert!(other.value.is_some() && other.value != one.score, "world {key}: {other:?}");
            }
        }
    }
}
