//! The kinds of operation, and values given for each kind.

use serde::{Deserialize, Serialize};

/// A kind of operation: what a specialist knows or has wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Turning the dial forward or back.
    Turn,
    /// Multiplying.
    Scale,
    /// Keeping the larger or the smaller of two marks.
    Order,
    /// The distance between two marks.
    Gap,
    /// The mark that lies opposite.
    Mirror,
}

impl Kind {
    /// Every kind, in the order that draws follow.
    pub const ALL: [Self; 5] = [Self::Turn, Self::Scale, Self::Order, Self::Gap, Self::Mirror];

    /// The kind as a manifest writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Scale => "scale",
            Self::Order => "order",
            Self::Gap => "gap",
            Self::Mirror => "mirror",
        }
    }
}

/// A number for each kind: a probability or a weight. All five are named, so that a new kind can't be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PerKind {
    /// For [`Kind::Turn`].
    pub turn: f64,
    /// For [`Kind::Scale`].
    pub scale: f64,
    /// For [`Kind::Order`].
    pub order: f64,
    /// For [`Kind::Gap`].
    pub gap: f64,
    /// For [`Kind::Mirror`].
    pub mirror: f64,
}

impl PerKind {
    /// The same number for every kind.
    pub fn all(value: f64) -> Self {
        Self { turn: value, scale: value, order: value, gap: value, mirror: value }
    }

    /// The number for one kind.
    pub fn of(&self, kind: Kind) -> f64 {
        match kind {
            Kind::Turn => self.turn,
            Kind::Scale => self.scale,
            Kind::Order => self.order,
            Kind::Gap => self.gap,
            Kind::Mirror => self.mirror,
        }
    }

    /// The numbers in the order of [`Kind::ALL`].
    pub fn values(&self) -> [f64; 5] {
        Kind::ALL.map(|kind| self.of(kind))
    }
}
