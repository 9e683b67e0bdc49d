//! What a generation's models and problems cost, kept through stops and kills.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cord_core::{LanguageModel, Usage};
use cord_recipe::Price;
use cord_store::{Costs, Journal, Journaled, ModelCosts, ProblemCosts, StageWriter};

use crate::meter::Metered;
use crate::models::Opened;

/// How often costs are written while a stage works: what a kill makes them forget.
const WRITE_EVERY: Duration = Duration::from_secs(30);

/// Names of one model stand together in [`Costs::models`].
const AND: &str = " + ";

/// The models of a stage.
pub(crate) struct Accounts {
    models: Vec<Account>,
    /// The costs of earlier attempts, and the problems that have ended.
    before: Costs,
    written: Instant,
}

struct Account {
    names: Vec<String>,
    /// What its cache had held before this stage: a model serves several.
    cached_before: u64,
    metered: Arc<Metered>,
    journaled: Arc<Journaled>,
}

impl Accounts {
    /// Takes up the costs of earlier attempts.
    pub(crate) fn open(writer: &StageWriter) -> anyhow::Result<Self> {
        Ok(Self { models: Vec::new(), before: writer.costs()?, written: Instant::now() })
    }

    /// A model behind its meter and the stage's journal.
    ///
    /// What a cache held is counted by the model: stages that use one side by side each count what both found.
    pub(crate) fn add(&mut self, name: &str, opened: &Opened, journal: &Arc<Journal>) -> Arc<dyn LanguageModel> {
        let model = opened.model();
        let cached_before = model.cached_tokens().unwrap_or(0);
        let metered = Arc::new(Metered::new(model));
        let journaled = Arc::new(Journaled::new(metered.clone(), journal.clone()));
        let names = vec![name.to_owned()];
        self.models.push(Account { names, cached_before, metered, journaled: journaled.clone() });
        journaled
    }

    /// Another name of the model at this place.
    pub(crate) fn also(&mut self, place: usize, name: &str) -> Arc<dyn LanguageModel> {
        let account = &mut self.models[place];
        if !account.names.iter().any(|known| known == name) {
            account.names.push(name.to_owned());
        }
        account.journaled.clone()
    }

    /// Notes what a problem took. One that is replayed keeps what it took when it was first solved.
    pub(crate) fn ended(&mut self, problem: &str, usage: Usage, seconds: f64) {
        self.before.problems.entry(problem.to_owned()).or_insert(ProblemCosts { usage, seconds });
    }

    fn costs(&self) -> Costs {
        let models = self.models.iter().map(|account| {
            let name = account.names.join(AND);
            let before = self.before.models.get(&name).copied().unwrap_or_default();
            let spent = account.journaled.spent();
            let cached = account.journaled.cached_tokens();
            let costs = ModelCosts {
                replies: spent.replies,
                usage: spent.usage,
                cached_tokens: cached
                    .map(|cached| cached.saturating_sub(account.cached_before) + before.cached_tokens.unwrap_or(0)),
                seconds: before.seconds + account.metered.seconds(),
            };
            (name, costs)
        });
        Costs { models: models.collect(), problems: self.before.problems.clone() }
    }

    pub(crate) fn write(&self, writer: &StageWriter) -> anyhow::Result<()> {
        Ok(writer.write_costs(&self.costs())?)
    }

    /// Writes them if it is time to.
    pub(crate) fn keep(&mut self, writer: &StageWriter) -> anyhow::Result<()> {
        if self.written.elapsed() < WRITE_EVERY {
            return Ok(());
        }
        self.written = Instant::now();
        self.write(writer)
    }
}

/// What the models' work cost. Nothing where a model has no price, or did something that its price does not cover.
pub(crate) fn money(costs: &Costs, prices: &BTreeMap<String, Price>) -> Option<f64> {
    let of = |(names, costs): (&String, &ModelCosts)| {
        let price = names.split(AND).find_map(|name| prices.get(name))?;
        model_money(costs, price)
    };
    if costs.models.is_empty() { None } else { costs.models.iter().map(of).sum() }
}

fn model_money(costs: &ModelCosts, price: &Price) -> Option<f64> {
    let of = |tokens: u64, price: Option<f64>| match (tokens, price) {
        (0, _) => Some(0.0),
        (tokens, Some(price)) => Some(tokens as f64 * price / 1e6),
        (_, None) => None,
    };
    match price {
        Price::Gpus(price) => Some(costs.seconds / 3600.0 * f64::from(price.gpus) * price.gpu_hour),
        Price::Tokens(price) => {
            // With a price of its own, what was cached must be known.
            let cached = if price.cached.is_some() { costs.cached_tokens? } else { 0 };
            let usage = &costs.usage;
            Some(
                of(usage.prompt_tokens.saturating_sub(cached), price.prompt)?
                    + of(cached, price.cached)?
                    + of(usage.generated_tokens, price.generated)?
                    + of(usage.scored_tokens, price.scored)?,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use cord_recipe::{GpuPrice, TokenPrice};

    use super::*;

    const NONE: TokenPrice = TokenPrice { prompt: None, cached: None, generated: None, scored: None };

    fn check(costs: &[(&str, ModelCosts)], prices: &[(&str, Price)], expected: Option<f64>) {
        let models = costs.iter().map(|(name, costs)| ((*name).to_owned(), *costs)).collect();
        let prices = prices.iter().map(|(name, price)| ((*name).to_owned(), *price)).collect();
        let found = money(&Costs { models, problems: BTreeMap::new() }, &prices);
        let same = match (found, expected) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-9,
            (a, b) => a == b,
        };
        assert!(same, "{costs:?} {prices:?}: expected {expected:?}, got {found:?}");
    }

    #[test]
    fn what_has_no_price_has_no_cost() {
        let usage = Usage { prompt_tokens: 3_000_000, generated_tokens: 2_000_000, scored_tokens: 0 };
        let wrote = ModelCosts { replies: 9, usage, cached_tokens: None, seconds: 1800.0 };
        let scored = ModelCosts { usage: Usage { scored_tokens: 1_000_000, ..usage }, ..wrote };
        let cached = ModelCosts { cached_tokens: Some(1_000_000), ..wrote };
        let tokens = TokenPrice { prompt: Some(0.5), generated: Some(2.0), ..NONE };
        let by_token = Price::Tokens(tokens);
        let by_gpu = Price::Gpus(GpuPrice { gpu_hour: 2.5, gpus: 8 });
        check(&[("a", wrote)], &[("a", by_token)], Some(5.5));
        check(&[("a", wrote)], &[("a", by_gpu)], Some(10.0));
        check(&[("a", wrote), ("b", wrote)], &[("a", by_token), ("b", by_gpu)], Some(15.5));
        check(&[("a", wrote), ("b", wrote)], &[("a", by_token)], None);
        check(&[("a", wrote)], &[], None);
        check(&[], &[("a", by_token)], None);
        // One model under two names has one price.
        check(&[("a + b", wrote)], &[("b", by_token)], Some(5.5));
        // Scored tokens need a price of their own, and so do generated ones.
        check(&[("a", scored)], &[("a", by_token)], None);
        check(&[("a", scored)], &[("a", Price::Tokens(TokenPrice { scored: Some(1.0), ..tokens }))], Some(6.5));
        check(&[("a", wrote)], &[("a", Price::Tokens(TokenPrice { generated: None, ..tokens }))], None);
        // A price of cached tokens needs their number.
        let discounted = Price::Tokens(TokenPrice { cached: Some(0.1), ..tokens });
        check(&[("a", wrote)], &[("a", discounted)], None);
        check(&[("a", cached)], &[("a", discounted)], Some(1.0 + 0.1 + 4.0));
        check(&[("a", cached)], &[("a", by_token)], Some(5.5));
    }
}
