//! From JSON objects to what sources say of them.

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lb_userspace::model::Outcome;
use lb_userspace::sources::convert;
use lb_userspace::store::{Event, Update};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One full list per kind: `objects` are all there are.
pub(super) fn lists(objects: &[Value]) -> [Event; 4] {
    [
        Event::Services(list(objects, "Service", convert::service)),
        Event::Slices(list(objects, "EndpointSlice", convert::slice)),
        Event::Nodes(list(objects, "Node", convert::node)),
        Event::ServiceCidrs(list(objects, "ServiceCIDR", convert::service_cidr)),
    ]
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> impl Iterator<Item = Value> + use<'a> {
    let kind = Value::from(kind);
    objects.iter().filter(move |object| object["kind"] == kind).cloned()
}

fn list<K, T>(objects: &[Value], kind: &str, convert: fn(&K) -> Outcome<T>) -> Update<T>
where
    K: Metadata<Ty = ObjectMeta> + DeserializeOwned,
{
    let one = |object| {
        let object: K = serde_json::from_value(object).expect("an object of the API");
        (convert::name(object.metadata()), convert(&object))
    };
    Update::Replace(of_kind(objects, kind).map(one).collect())
}
