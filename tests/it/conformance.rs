//! `proto/` is written by hand; here it is held against the descriptors of Envoy's real API, which the crate `envoy-types`
//! ships. A subset may leave out messages and fields, and must not say anything else of those that it has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use latchkey::envoy::FILE_DESCRIPTOR_SET;
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, MessageDescriptor, ServiceDescriptor};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto};

/// Deliberate differences, as [`differences`] words them. Each needs a reason beside it.
const ALLOWED: [&str; 0] = [];

static ENVOY: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let path = envoy_types().join("src/generated/types.bin");
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
    DescriptorPool::decode(&*bytes).expect("envoy-types ships a descriptor set")
});

/// The folder of the crate, which is fetched but never compiled.
fn envoy_types() -> PathBuf {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--locked", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo metadata failed; run `cargo fetch --locked` first:\n{told}"
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "envoy-types")
        .and_then(|package| {
            PathBuf::from(package["manifest_path"].as_str()?)
                .parent()
                .map(PathBuf::from)
        })
        .expect("envoy-types is a dependency; run `cargo fetch --locked`")
}

fn ours() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the build wrote a descriptor set")
}

/// What the subset says otherwise than Envoy.
fn differences(ours: &DescriptorPool, theirs: &DescriptorPool) -> Vec<String> {
    let mut found = Differences(Vec::new());
    for message in ours
        .all_messages()
        .filter(|message| !is_well_known(message.package_name()))
    {
        match theirs.get_message_by_name(message.full_name()) {
            Some(theirs) => found.in_message(&message, &theirs),
            None => found.add(message.full_name(), "message", "there", "missing"),
        }
    }
    for ours in ours
        .all_enums()
        .filter(|ours| !is_well_known(ours.package_name()))
    {
        match theirs.get_enum_by_name(ours.full_name()) {
            Some(theirs) => found.in_enum(&ours, &theirs),
            None => found.add(ours.full_name(), "enum", "there", "missing"),
        }
    }
    for service in ours.services() {
        match theirs.get_service_by_name(service.full_name()) {
            Some(theirs) => found.in_service(&service, &theirs),
            None => found.add(service.full_name(), "service", "there", "missing"),
        }
    }
    found.0
}

/// These come with the compiler, not from `proto/`.
fn is_well_known(package: &str) -> bool {
    package == "google.protobuf"
}

struct Differences(Vec<String>);

impl Differences {
    fn add(&mut self, place: &str, what: &str, ours: &str, theirs: &str) {
        self.0
            .push(format!("{place}: {what}: ours {ours}, Envoy's {theirs}"));
    }

    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, place: &str, what: &str, ours: T, theirs: T) {
        if ours != theirs {
            self.add(place, what, &format!("{ours:?}"), &format!("{theirs:?}"));
        }
    }

    fn in_message(&mut self, ours: &MessageDescriptor, theirs: &MessageDescriptor) {
        let place = ours.full_name();
        self.compare(
            place,
            "file",
            ours.parent_file().name(),
            theirs.parent_file().name(),
        );
        self.compare(place, "package", ours.package_name(), theirs.package_name());
        self.compare(place, "map entry", ours.is_map_entry(), theirs.is_map_entry());
        for field in ours.fields() {
            match theirs.get_field(field.number()) {
                Some(theirs) => self.in_field(&field, &theirs),
                None => self.add(
                    field.full_name(),
                    "number",
                    &field.number().to_string(),
                    "missing",
                ),
            }
        }
    }

    fn in_field(&mut self, ours: &FieldDescriptor, theirs: &FieldDescriptor) {
        let place = ours.full_name();
        let oneof =
            |field: &FieldDescriptor| field.containing_oneof().map(|oneof| oneof.full_name().to_owned());
        self.compare(place, "name", ours.name(), theirs.name());
        self.compare(place, "JSON name", ours.json_name(), theirs.json_name());
        self.compare(place, "type", type_of(ours), type_of(theirs));
        self.compare(place, "cardinality", ours.cardinality(), theirs.cardinality());
        self.compare(place, "map", ours.is_map(), theirs.is_map());
        self.compare(place, "packed", ours.is_packed(), theirs.is_packed());
        self.compare(
            place,
            "presence",
            ours.supports_presence(),
            theirs.supports_presence(),
        );
        self.compare(place, "oneof", oneof(ours), oneof(theirs));
    }

    /// An enum has to be complete: a value that is left out would be an unknown one.
    fn in_enum(&mut self, ours: &EnumDescriptor, theirs: &EnumDescriptor) {
        let values = |of: &EnumDescriptor| -> BTreeMap<String, i32> {
            of.values()
                .map(|value| (value.name().to_owned(), value.number()))
                .collect()
        };
        self.compare(
            ours.full_name(),
            "file",
            ours.parent_file().name(),
            theirs.parent_file().name(),
        );
        self.compare(ours.full_name(), "values", values(ours), values(theirs));
    }

    fn in_service(&mut self, ours: &ServiceDescriptor, theirs: &ServiceDescriptor) {
        self.compare(
            ours.full_name(),
            "file",
            ours.parent_file().name(),
            theirs.parent_file().name(),
        );
        for method in ours.methods() {
            let place = method.full_name();
            match theirs.methods().find(|theirs| theirs.name() == method.name()) {
                Some(theirs) => {
                    self.compare(
                        place,
                        "input",
                        method.input().full_name(),
                        theirs.input().full_name(),
                    );
                    self.compare(
                        place,
                        "output",
                        method.output().full_name(),
                        theirs.output().full_name(),
                    );
                    self.compare(
                        place,
                        "client stream",
                        method.is_client_streaming(),
                        theirs.is_client_streaming(),
                    );
                    self.compare(
                        place,
                        "server stream",
                        method.is_server_streaming(),
                        theirs.is_server_streaming(),
                    );
                }
                None => self.add(place, "method", "there", "missing"),
            }
        }
    }
}

/// The type with the name of the message or enum.
fn type_of(field: &FieldDescriptor) -> String {
    let kind = field.kind();
    match (kind.as_message(), kind.as_enum()) {
        (Some(message), _) => message.full_name().to_owned(),
        (_, Some(of)) => of.full_name().to_owned(),
        (None, None) => format!("{kind:?}"),
    }
}

#[test]
fn the_subset_says_what_envoy_says() {
    let ours = DescriptorPool::from_file_descriptor_set(ours()).expect("our own descriptors fit together");
    let found = differences(&ours, &ENVOY);
    let surprising: Vec<_> = found
        .iter()
        .filter(|found| !ALLOWED.contains(&found.as_str()))
        .collect();
    assert!(surprising.is_empty(), "{surprising:#?}");
    for allowed in ALLOWED {
        assert!(
            found.iter().any(|found| found == allowed),
            "no difference any more: {allowed}"
        );
    }
}

#[test]
fn the_subset_has_what_the_services_need() {
    let ours = DescriptorPool::from_file_descriptor_set(ours()).expect("our own descriptors fit together");
    let check = ours
        .get_service_by_name(latchkey::envoy::AUTHORIZATION_SERVICE)
        .expect("the service is in the subset")
        .methods()
        .next()
        .expect("it has a method");
    assert_eq!(check.full_name(), "envoy.service.auth.v3.Authorization.Check");
    let process = ours
        .get_service_by_name(latchkey::envoy::EXTERNAL_PROCESSOR_SERVICE)
        .expect("the service is in the subset")
        .methods()
        .next()
        .expect("it has a method");
    assert_eq!(
        process.full_name(),
        "envoy.service.ext_proc.v3.ExternalProcessor.Process"
    );
    for name in [
        "google.rpc.Status",
        "envoy.type.v3.HttpStatus",
        "envoy.extensions.filters.http.ext_proc.v3.ProcessingMode",
        "envoy.config.core.v3.HeaderValueOption",
    ] {
        assert!(ours.get_message_by_name(name).is_some(), "{name}");
    }
}

const EXTERNAL_AUTH: &str = "envoy/service/auth/v3/external_auth.proto";
const ATTRIBUTES: &str = "envoy/service/auth/v3/attribute_context.proto";
const BASE: &str = "envoy/config/core/v3/base.proto";

#[test]
fn every_kind_of_mistake_in_the_subset_is_found() {
    type Change = fn(&mut FileDescriptorSet);
    let mistakes: [(&str, &str, Change); 15] = [
        ("number", "DeniedHttpResponse.body: number", |set| {
            field(message(file(set, EXTERNAL_AUTH), "DeniedHttpResponse"), "body").number = Some(9);
        }),
        ("two numbers swapped", "HeaderValue.value: name", |set| {
            let value = message(file(set, BASE), "HeaderValue");
            field(value, "key").number = Some(2);
            field(value, "value").number = Some(1);
        }),
        ("type", "DeniedHttpResponse.body: type", |set| {
            field(message(file(set, EXTERNAL_AUTH), "DeniedHttpResponse"), "body").set_type(Type::Bytes);
        }),
        ("message type", "CheckResponse.dynamic_metadata: type", |set| {
            field(
                message(file(set, EXTERNAL_AUTH), "CheckResponse"),
                "dynamic_metadata",
            )
            .type_name = Some(".google.protobuf.Value".into());
        }),
        ("name", "QueryParameter.wert: name", |set| {
            field(message(file(set, BASE), "QueryParameter"), "value").name = Some("wert".into());
        }),
        ("JSON name", "QueryParameter.value: JSON name", |set| {
            field(message(file(set, BASE), "QueryParameter"), "value").json_name = Some("wert".into());
        }),
        (
            "cardinality",
            "OkHttpResponse.headers_to_remove: cardinality",
            |set| {
                field(
                    message(file(set, EXTERNAL_AUTH), "OkHttpResponse"),
                    "headers_to_remove",
                )
                .set_label(Label::Optional);
            },
        ),
        ("oneof", "CheckResponse.error_response: oneof", |set| {
            field(
                message(file(set, EXTERNAL_AUTH), "CheckResponse"),
                "error_response",
            )
            .oneof_index = None;
        }),
        ("map", "HttpRequest.headers: map", |set| {
            let context = message(file(set, ATTRIBUTES), "AttributeContext");
            let request = nested(context, "HttpRequest");
            nested(request, "HeadersEntry").options = None;
        }),
        ("enum value", "HeaderAppendAction: values", |set| {
            let option = message(file(set, BASE), "HeaderValueOption");
            option.enum_type[0].value[2].number = Some(7);
        }),
        ("rpc name", "Authorization.Ask: method", |set| {
            method(set).name = Some("Ask".into())
        }),
        ("rpc input", "Authorization.Check: input", |set| {
            method(set).input_type = Some(".envoy.service.auth.v3.CheckResponse".into());
        }),
        ("rpc output", "Authorization.Check: output", |set| {
            method(set).output_type = Some(".envoy.service.auth.v3.CheckRequest".into());
        }),
        ("rpc stream", "Authorization.Check: client stream", |set| {
            method(set).client_streaming = Some(true)
        }),
        ("package", "google.rpz.Status: message", |set| {
            file(set, "google/rpc/status.proto").package = Some("google.rpz".into());
            field(message(file(set, EXTERNAL_AUTH), "CheckResponse"), "status").type_name =
                Some(".google.rpz.Status".into());
        }),
    ];
    for (mistake, expected, change) in mistakes {
        let mut set = ours();
        change(&mut set);
        let pool = DescriptorPool::from_file_descriptor_set(set)
            .unwrap_or_else(|error| panic!("{mistake}: the changed set does not load: {error}"));
        let found = differences(&pool, &ENVOY);
        assert!(
            found.iter().any(|found| found.contains(expected)),
            "{mistake}: {found:#?}"
        );
    }
}

fn file<'s>(set: &'s mut FileDescriptorSet, name: &str) -> &'s mut FileDescriptorProto {
    set.file
        .iter_mut()
        .find(|file| file.name() == name)
        .expect("the file is in the subset")
}

fn message<'s>(file: &'s mut FileDescriptorProto, name: &str) -> &'s mut DescriptorProto {
    file.message_type
        .iter_mut()
        .find(|message| message.name() == name)
        .expect("the message is in the file")
}

fn nested<'s>(message: &'s mut DescriptorProto, name: &str) -> &'s mut DescriptorProto {
    message
        .nested_type
        .iter_mut()
        .find(|nested| nested.name() == name)
        .expect("the message is nested there")
}

fn field<'s>(message: &'s mut DescriptorProto, name: &str) -> &'s mut prost_types::FieldDescriptorProto {
    message
        .field
        .iter_mut()
        .find(|field| field.name() == name)
        .expect("the field is in the message")
}

fn method(set: &mut FileDescriptorSet) -> &mut MethodDescriptorProto {
    &mut file(set, EXTERNAL_AUTH).service[0].method[0]
}
