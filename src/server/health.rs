//! gRPC health (`grpc.health.v1`) and reflection.

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::streams::EndsOnStop;

/// The empty name is the server as a whole (the gRPC Health Checking Protocol).
const NAMES: [&str; 3] = [
    "",
    crate::envoy::AUTHORIZATION_SERVICE,
    crate::envoy::EXTERNAL_PROCESSOR_SERVICE,
];

/// What health says on every listener. NOT_SERVING at first.
#[derive(Clone, Debug)]
pub(super) struct Health {
    reporter: HealthReporter,
}

impl Health {
    pub(super) async fn new() -> Self {
        let health = Self {
            reporter: HealthReporter::new(),
        };
        health.set(ServingStatus::NotServing).await;
        health
    }

    pub(super) async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    pub(super) async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        for name in NAMES {
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// The service; its `Watch` streams end on `stop`.
    pub(super) fn service(&self, stop: &CancellationToken) -> EndsOnStop<HealthServer<HealthService>> {
        let service = HealthService::from_health_reporter(self.reporter.clone());
        EndsOnStop::new(HealthServer::new(service), stop.clone())
    }
}

/// Health, and reflection (v1 and v1alpha, which older tools ask for) of what `descriptors` describe: encoded
/// `google.protobuf.FileDescriptorSet`s. Added to `services`.
pub(super) fn routes(
    services: Routes,
    health: &Health,
    descriptors: &[&[u8]],
    stop: &CancellationToken,
) -> anyhow::Result<Routes> {
    let described = || {
        descriptors.iter().fold(
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET),
            |builder, set| builder.register_encoded_file_descriptor_set(set),
        )
    };
    let v1 = described().build_v1().context("descriptors for reflection")?;
    let v1alpha = described()
        .build_v1alpha()
        .context("descriptors for reflection")?;
    Ok(services
        .add_service(health.service(stop))
        .add_service(EndsOnStop::new(v1, stop.clone()))
        .add_service(EndsOnStop::new(v1alpha, stop.clone())))
}
