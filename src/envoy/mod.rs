//! What Envoy speaks: the check service and its wire format.
