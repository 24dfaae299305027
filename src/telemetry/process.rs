//! What is told of the process itself, and how metrics are written.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Version, start, and open connections of each lane.
#[derive(Debug)]
pub struct ProcessMetrics {
    started: SystemTime,
    connections: Vec<Arc<AtomicUsize>>,
}

impl ProcessMetrics {
    /// `connections` has the number of open connections of each lane.
    pub fn new(started: SystemTime, connections: Vec<Arc<AtomicUsize>>) -> Self {
        Self { started, connections }
    }

    /// Adds `latchkey_build_info`, `latchkey_start_time_seconds` and `latchkey_connections`.
    pub fn register(self, registry: &mut Registry) {
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("latchkey_build", "The version that runs", Info::new(version));
        let start = Gauge::<f64, AtomicU64>::default();
        start.set(
            self.started
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64(),
        );
        registry.register(
            "latchkey_start_time_seconds",
            "When the process began, in seconds since the Unix epoch",
            start,
        );
        registry.register_collector(Box::new(Connections(self.connections)));
    }
}

#[derive(Debug)]
struct Connections(Vec<Arc<AtomicUsize>>);

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut connections = encoder.encode_descriptor(
            "latchkey_connections",
            "Open gRPC connections by lane",
            None,
            MetricType::Gauge,
        )?;
        for (lane, open) in self.0.iter().enumerate() {
            let open = u64::try_from(open.load(Ordering::Relaxed)).unwrap_or(u64::MAX);
            connections
                .encode_family(&[("lane", lane.to_string())])?
                .encode_gauge(&open)?;
        }
        Ok(())
    }
}

/// The metrics as OpenMetrics 1.0 text.
pub fn render(registry: &Registry) -> Result<String, fmt::Error> {
    let mut metrics = String::with_capacity(8 * 1024);
    text::encode(&mut metrics, registry)?;
    Ok(metrics)
}
