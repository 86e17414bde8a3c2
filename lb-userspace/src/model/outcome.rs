//! What became of an object of the API, and how to speak of it.

use std::fmt;
use std::path::PathBuf;

use super::NamespacedName;

/// What a conversion makes of an object of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It can be used; the sentences say which parts of it were left out.
    Usable(T, Vec<String>),
    /// It is none of our business, and nobody needs to be told.
    NotOurs,
    /// It cannot be used; the sentence says why.
    Rejected(String),
    /// What it says cannot even be read, for this reason: if it was read before, that still counts.
    Unreadable(String),
}

/// The kinds of objects that load balancing reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` `EndpointSlice`.
    EndpointSlice,
    /// `v1` Node.
    Node,
    /// `networking.k8s.io/v1` `ServiceCIDR`.
    ServiceCidr,
    /// `v1` Pod, where the sockets of pods are translated.
    Pod,
}

impl Kind {
    /// One word in lower case.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::EndpointSlice => "endpointslice",
            Self::Node => "node",
            Self::ServiceCidr => "servicecidr",
            Self::Pod => "pod",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An object, printed `service default/web`.
    Object(Kind, NamespacedName),
    /// A manifest file or the directory of them, printed `file /etc/waggle/web.yaml`.
    File(PathBuf),
}

impl Subject {
    /// What it is, in one word in lower case.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Object(kind, _) => kind.word(),
            Self::File(_) => "file",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(kind, name) => write!(f, "{kind} {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// The sorts of problems that objects have. Alert rules and scripts may compare the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Problem {
    /// What the object says cannot be used.
    InvalidObject,
    /// An older Service has an address that this one wants.
    AddressConflict,
    /// A map has no room for it.
    MapFull,
    /// A process of a node wanted to bind its node port, which is guarded.
    NodePortGuarded,
    /// The health check node port of a Service is taken. In kube-proxy's words, as the next two.
    FailedToStartServiceHealthcheck,
    /// The port of the agent's own health is taken.
    FailedToStartProxierHealthcheck,
    /// The port of the metrics is taken.
    FailedToStartMetricServer,
}

impl Problem {
    /// What was to be done, as Events say it.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::InvalidObject | Self::AddressConflict | Self::MapFull => "Reconcile",
            Self::NodePortGuarded => "Guard",
            Self::FailedToStartServiceHealthcheck => "Listen",
            Self::FailedToStartProxierHealthcheck | Self::FailedToStartMetricServer => {
                "StartKubeProxy"
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::InvalidObject => "InvalidObject",
            Self::AddressConflict => "AddressConflict",
            Self::MapFull => "MapFull",
            Self::NodePortGuarded => "NodePortGuarded",
            Self::FailedToStartServiceHealthcheck => "FailedToStartServiceHealthcheck",
            Self::FailedToStartProxierHealthcheck => "FailedToStartProxierHealthcheck",
            Self::FailedToStartMetricServer => "FailedToStartMetricServer",
        })
    }
}

/// Something that cannot be used, whole or in part. It never stops anything else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection {
    /// What is concerned.
    pub object: Subject,
    /// The manifest that the object is in, if it came from one.
    pub file: Option<PathBuf>,
    /// The sort of problem, for programs.
    pub problem: Problem,
    /// Why, and what to do.
    pub reason: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        if let Some(file) = &self.file {
            write!(f, " in {}", file.display())?;
        }
        write!(f, ": {}", self.reason)
    }
}
