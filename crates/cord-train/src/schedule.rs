//! The learning rate over the course of a run.

use serde::{Deserialize, Serialize};

/// The shape after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Half a cosine from the peak to the floor (Loshchilov and Hutter 2017).
    Cosine,
    /// A straight line from the peak to the floor.
    Linear,
    /// The peak throughout.
    Constant,
}

/// A learning-rate schedule: linear warm-up, then a decay to a floor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The shape after warm-up.
    pub kind: ScheduleKind,
    /// The highest learning rate.
    pub peak: f64,
    /// The last learning rate, as a share of the peak.
    pub floor_share: f64,
    /// Share of the steps that warm up.
    pub warmup_share: f64,
}

impl Schedule {
    /// The learning rate of a step, counted from 0, in a run of `steps`.
    ///
    /// The first step of a warm-up of `w` steps has `peak / w`, as in transformers' schedules shifted by one so that
    /// no step is spent at a rate of zero.
    pub fn at(&self, step: usize, steps: usize) -> f64 {
        let warmup = (self.warmup_share * steps as f64).ceil() as usize;
        if step < warmup {
            return self.peak * (step + 1) as f64 / warmup as f64;
        }
        let left = (steps - warmup).max(1) as f64;
        let progress = ((step - warmup) as f64 / left).min(1.0);
        let shape = match self.kind {
            ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            ScheduleKind::Linear => 1.0 - progress,
            ScheduleKind::Constant => 1.0,
        };
        self.peak * (self.floor_share + (1.0 - self.floor_share) * shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_pass_through_their_known_points() {
        let check = |kind, step, expected: f64| {
            let schedule = Schedule { kind, peak: 1.0, floor_share: 0.1, warmup_share: 0.1 };
            let given = schedule.at(step, 110);
            assert!((given - expected).abs() < 1e-9, "{kind:?} at {step}: {given}");
        };
        for kind in [ScheduleKind::Cosine, ScheduleKind::Linear, ScheduleKind::Constant] {
            check(kind, 0, 1.0 / 11.0);
            check(kind, 10, 1.0);
            check(kind, 11, 1.0);
        }
        check(ScheduleKind::Cosine, 11 + 99 / 3, 0.1 + 0.9 * 0.75);
        check(ScheduleKind::Linear, 11 + 33, 0.1 + 0.9 * 2.0 / 3.0);
        check(ScheduleKind::Constant, 109, 1.0);
    }
}
