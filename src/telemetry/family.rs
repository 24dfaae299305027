//! Metrics that a room keeps as plain fields, shown as one family with a label.

use std::fmt;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Metrics that differ by one label, whose values are fixed.
pub(crate) struct Family<M, const N: usize> {
    label: &'static str,
    metrics: [(&'static str, M); N],
}

/// Shows metrics as one family. They share their values with those given.
pub(crate) fn family<M: Clone, const N: usize>(
    label: &'static str,
    metrics: &[(&'static str, &M); N],
) -> Family<M, N> {
    Family {
        label,
        metrics: metrics.map(|(value, metric)| (value, metric.clone())),
    }
}

impl<M, const N: usize> fmt::Debug for Family<M, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

impl<M: TypedMetric, const N: usize> TypedMetric for Family<M, N> {
    const TYPE: MetricType = M::TYPE;
}

impl<M: EncodeMetric + TypedMetric, const N: usize> EncodeMetric for Family<M, N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (value, metric) in &self.metrics {
            metric.encode(encoder.encode_family(&[(self.label, *value)])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}
