//! What `waggle dump -o json` says, with names and addresses in the place of ids.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What the maps do, one line each, sorted:
/// - `10.96.0.10:80/TCP default/web:http/TCP: 10.1.0.2:8080 …`, a frontend with the backends that its
///   traffic gets, sorted, those that do not serve in brackets;
/// - `kept 10.1.0.2:8080 default/web:http/TCP`, a backend that gets no new traffic, in brackets likewise;
/// - `10.96.0.10:80/TCP leads nowhere`, a frontend without a service;
/// - `unreachable default/web:http/TCP`, a service that no frontend leads to.
pub(crate) fn view(dump: &Value) -> String {
    let serving: BTreeSet<_> =
        rows(dump, "backends").filter(|row| row["serving"] == true).map(backend).collect();
    let services: BTreeMap<_, _> = rows(dump, "services")
        .filter(|row| row["in_use"] == true)
        .map(|row| (row["id"].as_u64(), row))
        .collect();
    let mut unused: BTreeSet<_> = rows(dump, "backends").map(backend).collect();
    let mut unreachable: BTreeSet<_> = services.keys().copied().collect();
    let mut lines = Vec::new();
    for row in rows(dump, "frontends") {
        let id = row["service"]["id"].as_u64();
        // Seen while the agent writes: a dump is not of one moment.
        let Some(service) = services.get(&id) else {
            lines.push(format!("{} leads nowhere", text(&row["address"])));
            continue;
        };
        unreachable.remove(&id);
        let list = if row["local"] == true { "local" } else { "cluster" };
        let name = text(&service["name"]);
        let mut backends = Vec::new();
        for reference in service[list].as_array().unwrap() {
            let found = (text(&reference["address"]), name.clone());
            unused.remove(&found);
            let is_serving = serving.contains(&found);
            backends.push(if is_serving { found.0 } else { format!("({})", found.0) });
        }
        backends.sort();
        backends.dedup();
        lines.push(
            format!("{} {name}: {}", text(&row["address"]), backends.join(" ")).trim().to_owned(),
        );
    }
    lines.extend(unused.into_iter().map(|found| {
        let is_serving = serving.contains(&found);
        let (address, name) = found;
        if is_serving {
            format!("kept {address} {name}")
        } else {
            format!("kept ({address}) {name}")
        }
    }));
    lines.extend(unreachable.iter().map(|id| format!("unreachable {}", services[id]["name"])));
    lines.sort();
    lines.join("\n")
}

/// The ids of services and backends with what has them.
pub(crate) fn ids(dump: &Value) -> BTreeMap<String, u64> {
    let services = rows(dump, "services").filter(|row| row["in_use"] == true);
    let services = services.map(|row| (format!("{} {}", row["name"], row["family"]), &row["id"]));
    let backends = rows(dump, "backends");
    let backends =
        backends.map(|row| (format!("{} {}", row["service"], row["address"]), &row["id"]));
    services.chain(backends).map(|(name, id)| (name, id.as_u64().unwrap())).collect()
}

fn rows<'a>(dump: &'a Value, table: &str) -> impl Iterator<Item = &'a Value> {
    dump[table].as_array().unwrap_or_else(|| panic!("{table} in {dump}")).iter()
}

fn backend(row: &Value) -> (String, String) {
    (text(&row["address"]), text(&row["service"]["name"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}
