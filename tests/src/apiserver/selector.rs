//! Label and field selectors: `!a,b,c=d,e!=f`. Sets (`in`, `notin`) are refused.

use serde_json::Value;

use super::resource::Resource;
use super::status::Refusal;

/// Which objects are meant; all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Present,
    Absent,
    Is(String),
    IsNot(String),
}

impl Selector {
    /// Reads both selectors of a request for a resource.
    pub(super) fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, Refusal> {
        let selector = Self { labels: requirements(labels)?, fields: requirements(fields)? };
        for Requirement { key, test } in &selector.fields {
            let known = key == "metadata.name"
                || key == "metadata.namespace"
                || resource.fields.contains(&key.as_str());
            if !known || matches!(test, Test::Present | Test::Absent) {
                let kind = resource.kind;
                return Err(Refusal::bad_request(format!(
                    "field selector on {key} is not supported for {kind}"
                )));
            }
        }
        Ok(selector)
    }

    /// Whether the object is meant.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"][key].as_str();
        // An absent field is an empty one.
        let field = |key: &str| {
            let value = key.split('.').fold(object, |value, part| &value[part]);
            Some(value.as_str().unwrap_or_default())
        };
        self.labels.iter().all(|requirement| requirement.holds(label(&requirement.key)))
            && self.fields.iter().all(|requirement| requirement.holds(field(&requirement.key)))
    }
}

impl Requirement {
    fn holds(&self, found: Option<&str>) -> bool {
        match &self.test {
            Test::Present => found.is_some(),
            Test::Absent => found.is_none(),
            Test::Is(wanted) => found == Some(wanted),
            Test::IsNot(unwanted) => found != Some(unwanted),
        }
    }
}

fn requirements(text: &str) -> Result<Vec<Requirement>, Refusal> {
    text.split(',').filter(|part| !part.is_empty()).map(|part| requirement(part.trim())).collect()
}

fn requirement(part: &str) -> Result<Requirement, Refusal> {
    let (key, test) = if let Some((key, value)) = part.split_once("!=") {
        (key, Test::IsNot(value.to_owned()))
    } else if let Some((key, value)) = part.split_once('=') {
        (key, Test::Is(value.trim_start_matches('=').to_owned()))
    } else if let Some(key) = part.strip_prefix('!') {
        (key, Test::Absent)
    } else {
        (part, Test::Present)
    };
    if key.is_empty() || key.contains([' ', '(', ')']) {
        return Err(Refusal::bad_request(format!("cannot parse the selector {part:?}")));
    }
    Ok(Requirement { key: key.to_owned(), test })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::RESOURCES;
    use super::Selector;

    #[track_caller]
    fn check(labels: &str, fields: &str, expected: bool) {
        let object = json!({
            "metadata": {"name": "web", "labels": {"app": "web", "empty": ""}},
            "spec": {"clusterIP": "10.96.0.10"},
        });
        let selector = Selector::parse(&RESOURCES[0], labels, fields).unwrap();
        assert_eq!(selector.matches(&object), expected, "{labels} {fields}");
    }

    #[test]
    fn labels_are_compared_or_looked_for() {
        check("", "", true);
        check("app=web", "", true);
        check("app==web", "", true);
        check("app=db", "", false);
        check("app!=db", "", true);
        check("app!=web", "", false);
        check("other!=web", "", true);
        check("empty", "", true);
        check("!empty", "", false);
        check("!other,app", "", true);
        check("!other,!app", "", false);
    }

    #[test]
    fn fields_are_compared_and_an_absent_one_is_empty() {
        check("", "metadata.name=web", true);
        check("", "metadata.name=db", false);
        check("", "spec.clusterIP!=None", true);
        check("", "spec.clusterIP!=10.96.0.10", false);
        check("", "spec.type=", true);
        check("app=web", "spec.clusterIP=None", false);
    }

    #[test]
    fn what_a_real_server_refuses_is_refused() {
        let refused = |labels, fields| Selector::parse(&RESOURCES[0], labels, fields).is_err();
        assert!(refused("app in (web)", ""));
        assert!(refused("", "spec.externalName=x"));
        assert!(refused("", "spec.type"));
    }
}
