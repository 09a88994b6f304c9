//! One run of a workload, and what of it is compared.

use crate::perf::churn::{Churned, Idle};
use crate::perf::report::{group, micros};
use crate::perf::run::{Latency, Outcome};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Measure {
    /// So many a second: the more the better.
    Rate,
    /// How long confirms take, p50 and p99: the less the better.
    ConfirmLatency,
    /// How long messages take, p50 and p99.
    EndToEndLatency,
    /// Bytes for each.
    Memory,
}

impl Measure {
    /// What its figures are called.
    pub(super) fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Rate => &["/s"],
            Self::ConfirmLatency => &["µs confirm p50", "µs confirm p99"],
            Self::EndToEndLatency => &["µs end-to-end p50", "µs end-to-end p99"],
            Self::Memory => &["bytes each"],
        }
    }

    /// Whether ratios keep within a goal.
    pub(super) fn keeps(self, ratios: &[f64], goal: f64) -> bool {
        ratios.iter().all(|&ratio| if self == Self::Rate { ratio >= goal } else { ratio <= goal })
    }
}

/// One run.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(transparent)]
pub(super) struct Sample {
    details: Details,
}

/// What was found out in it.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(untagged)]
pub(super) enum Details {
    Load(Outcome),
    Churn(Churned),
    Idle(Idle),
}

impl Sample {
    pub(super) fn new(details: Details) -> Self {
        Self { details }
    }

    /// The figures that are compared, as [`Measure::labels`] calls them.
    pub(super) fn figures(&self, measure: Measure) -> Vec<u64> {
        let of =
            |latency: Option<Latency>| latency.map(|latency| vec![latency.p50_us, latency.p99_us]).unwrap_or_default();
        match (&self.details, measure) {
            (Details::Load(outcome), Measure::ConfirmLatency) => of(outcome.confirm_latency),
            (Details::Load(outcome), Measure::EndToEndLatency) => of(outcome.end_to_end_latency),
            // Without consumers what counts is what is safe.
            (Details::Load(outcome), _) if outcome.verdict.is_none() => vec![outcome.confirm_rate],
            (Details::Load(outcome), _) => vec![outcome.delivery_rate],
            (Details::Churn(churned), _) => vec![churned.rate],
            (Details::Idle(idle), _) => vec![idle.bytes_each],
        }
    }

    pub(super) fn stolen_share(&self) -> Option<f64> {
        match &self.details {
            Details::Load(outcome) => outcome.stolen_share,
            Details::Churn(churned) => churned.stolen_share,
            Details::Idle(_) => None,
        }
    }

    /// Whether no message was harmed.
    pub(super) fn is_clean(&self) -> bool {
        match &self.details {
            Details::Load(outcome) => outcome.verdict.is_none_or(|verdict| verdict.is_clean()),
            Details::Churn(_) | Details::Idle(_) => true,
        }
    }

    /// What else is worth knowing of several runs: medians, by what they are called.
    pub(super) fn others(samples: &[Self], measure: Measure) -> Vec<String> {
        let of = |value: &dyn Fn(&Details) -> Option<u64>| {
            let values: Vec<u64> = samples.iter().filter_map(|sample| value(&sample.details)).collect();
            (!values.is_empty()).then(|| super::median(values.into_iter()))
        };
        let latency = |which: fn(&Details) -> Option<Latency>, name: &str| {
            let p50 = of(&|it| which(it).map(|latency| latency.p50_us))?;
            let p99 = of(&|it| which(it).map(|latency| latency.p99_us))?;
            Some(format!("{name} p50 {} p99 {} µs", group(p50), group(p99)))
        };
        let rate = of(&|it| match it {
            Details::Load(outcome) if measure != Measure::Rate => Some(outcome.delivery_rate),
            _ => None,
        });
        let cpu = of(&|it| match it {
            Details::Load(outcome) => outcome.broker_cpu_ns_per_message,
            Details::Churn(churned) => churned.broker_cpu_ns_each,
            Details::Idle(_) => None,
        });
        let resident = of(&|it| match it {
            Details::Load(outcome) => outcome.broker_resident_kib,
            Details::Churn(churned) => churned.broker_resident_kib,
            Details::Idle(idle) => Some(idle.with_kib),
        });
        let confirm = |it: &Details| match it {
            Details::Load(outcome) => outcome.confirm_latency,
            _ => None,
        };
        let end_to_end = |it: &Details| match it {
            Details::Load(outcome) => outcome.end_to_end_latency,
            _ => None,
        };
        let each = |it: &Details| match it {
            Details::Churn(churned) => churned.latency,
            _ => None,
        };
        let parts = [
            rate.map(|rate| format!("{} /s", group(rate))),
            cpu.map(|cpu| format!("{:.2} µs processor", micros(cpu))),
            (measure != Measure::ConfirmLatency).then(|| latency(confirm, "confirm")).flatten(),
            (measure != Measure::EndToEndLatency).then(|| latency(end_to_end, "end-to-end")).flatten(),
            latency(each, "each"),
            resident.map(|resident| format!("{} MiB", resident / 1024)),
        ];
        parts.into_iter().flatten().collect()
    }
}

#[cfg(test)]
impl Sample {
    /// One of a load that lost so many messages, and so much to the host.
    pub(super) fn of_load(stolen_share: f64, lost: u64) -> Self {
        let verdict = Some(crate::perf::ledger::Verdict { lost, ..<_>::default() });
        Self::new(Details::Load(Outcome { stolen_share: Some(stolen_share), verdict, ..Outcome::default() }))
    }
}
