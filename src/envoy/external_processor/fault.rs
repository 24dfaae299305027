//! Faults of the exchange itself: what is not the caller's fault, nor the AI's.

/// Why a request is refused without a look at what is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// No check of Latchkey has allowed the request, or Envoy does not forward what it said.
    ContextMissing,
    /// The check named a guard that is in no policy any more.
    GuardUnknown,
    /// Envoy is configured in a way in which a body could pass unseen.
    ModeUnsupported,
    /// A message that has no place here.
    OutOfOrder,
    /// The backend changes to a protocol that no guard can look into.
    Upgraded,
    /// A panic, or work that did not end.
    Internal,
}

impl Fault {
    /// The HTTP status.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Upgraded => 502,
            Self::ContextMissing
            | Self::GuardUnknown
            | Self::ModeUnsupported
            | Self::OutOfOrder
            | Self::Internal => 500,
        }
    }

    /// `code` of the body.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::ContextMissing => "GUARD_CONTEXT_MISSING",
            Self::GuardUnknown => "GUARD_UNKNOWN",
            Self::ModeUnsupported => "GUARD_MODE_UNSUPPORTED",
            Self::OutOfOrder => "GUARD_OUT_OF_ORDER",
            Self::Upgraded => "UPGRADE_NOT_ALLOWED",
            Self::Internal => "INTERNAL",
        }
    }

    /// `error` of the body.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Upgraded => "Upgrade not allowed",
            Self::ContextMissing
            | Self::GuardUnknown
            | Self::ModeUnsupported
            | Self::OutOfOrder
            | Self::Internal => "Internal server error",
        }
    }

    /// For the operator: what is wrong, and what would do.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::ContextMissing => {
                "a request came without the metadata of an allowed check: ext_authz is off on its route or let it pass in \
                 failure mode, or metadata_options.forwarding_namespaces lacks envoy.filters.http.ext_authz"
            }
            Self::GuardUnknown => {
                "the check named a guard that is in no policy any more; a reload removed it"
            }
            Self::ModeUnsupported => {
                "a guarded route needs ext_proc with request_body_mode: BUFFERED and without observability_mode, or \
                 bodies could pass unseen"
            }
            Self::OutOfOrder => "ext_proc sent a message that has no place in its exchange",
            Self::Upgraded => "the backend of a guarded route changed the protocol",
            Self::Internal => "the guard failed; the request was refused",
        }
    }
}
