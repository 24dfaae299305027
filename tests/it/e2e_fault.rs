//! A fault of our own, through the real Envoy: the check service of the library in a server of this test's, with a part in it
//! that panics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;

use latchkey::authorizer::Authorizer;
use latchkey::decision::Policy;
use latchkey::envoy::{AUTHORIZATION_SERVICE, CheckLayer};
use latchkey::keys::{ApiKey, KeyCache, KeySource, Verifying};
use latchkey::limits::LocalLimits;
use latchkey::telemetry::CheckMetrics;
use tokio_stream::wrappers::TcpListenerStream;

use crate::support::{Backend, Client, Envoy, Home, Shape, in_each_shape};

in_each_shape!(a_fault_of_our_own_is_a_500_and_the_server_goes_on);

struct Broken;

impl KeySource for Broken {
    fn verify<'a>(&'a self, _: &'a ApiKey) -> Verifying<'a> {
        Box::pin(async { Ok(None) })
    }

    fn can_know(&self, presented: &[u8]) -> bool {
        if presented == b"planted" {
            // A panic without its hook, which would look for symbols until Envoy gives up.
            std::panic::resume_unwind(Box::new("planted"));
        }
        true
    }
}

/// Serves Check until the process ends, which is when the tests end.
fn serve(home: &Home) -> SocketAddr {
    let settings = latchkey::config::load(Some(&home.config()), &BTreeMap::new())
        .expect("a good configuration")
        .settings;
    let (told, address) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let keys = KeyCache::new(
                Arc::new(Broken),
                &settings.keys,
                tokio::runtime::Handle::current(),
            );
            let policy = Policy::compile(Arc::new(settings));
            let authorizer = Authorizer::new(policy, keys, LocalLimits::new(1000), CheckMetrics::default());
            let (health, service) = tonic_health::server::health_reporter();
            health
                .set_service_status(AUTHORIZATION_SERVICE, tonic_health::ServingStatus::Serving)
                .await;
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a port");
            told.send(listener.local_addr().expect("an address"))
                .expect("the test waits");
            tonic::transport::Server::builder()
                .layer(CheckLayer::new(Arc::new(authorizer)))
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .expect("it serves");
        });
    });
    address.recv().expect("the server starts")
}

fn a_fault_of_our_own_is_a_500_and_the_server_goes_on(shape: Shape) {
    let home = Home::new();
    let backend = Backend::start();
    let envoy = Envoy::start_in(shape, &[serve(&home)], backend.address, &[]);
    let mut client = Client::new(envoy.listener);
    for headers in [[("authorization", "Bearer planted")], [("x-api-key", "planted")]] {
        let answer = client.post("/ai/support", &headers);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (500, "INTERNAL"),
            "{answer:?}"
        );
        assert_eq!(answer.json()["error"], "Internal server error");
        let next = client.post("/ai/support", &[("x-api-key", "something-else")]);
        assert_eq!((next.status, next.code().as_str()), (401, "INVALID_API_KEY"));
    }
    assert_eq!(backend.requests(), 0);
}
