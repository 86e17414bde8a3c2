//! Names as the API server admits them. Manifests are checked by nobody else.
//!
//! Names end up in messages and, joined by `/` and `:`, in `SERVICE_NAMES`, where they must be told
//! apart and fit.

use crate::model::{Kind, NamespacedName};

/// The longest DNS label.
const LABEL: usize = 63;
/// The longest name of several labels.
const SUBDOMAIN: usize = 253;

/// Whether an object of this kind can have this name.
pub fn check_name(kind: Kind, name: &NamespacedName) -> Result<(), String> {
    let checked = if kind == Kind::Service { dns_label(&name.name) } else { subdomain(&name.name) };
    checked.map_err(|problem| format!("the name {:?} {problem}", name.name))?;
    if name.namespace.is_empty() {
        return Ok(());
    }
    dns_label(&name.namespace)
        .map_err(|problem| format!("the namespace {:?} {problem}", name.namespace))
}

/// Whether `text` is a DNS label (RFC 1123) in lower case; if not, what it is and what to do.
pub(super) fn dns_label(text: &str) -> Result<(), String> {
    if text.len() > LABEL || !is_label(text) {
        return Err(format!("is no DNS label; use up to {LABEL} of a-z, 0-9 and -"));
    }
    Ok(())
}

fn subdomain(text: &str) -> Result<(), String> {
    if text.len() > SUBDOMAIN || !text.split('.').all(is_label) {
        return Err(format!("is no DNS name; use up to {SUBDOMAIN} of a-z, 0-9, - and ."));
    }
    Ok(())
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, namespace: &str, name: &str, expected: bool) {
        let result = check_name(kind, &NamespacedName::new(namespace, name));
        assert_eq!(result.is_ok(), expected, "{kind} {namespace:?} {name:?}: {result:?}");
    }

    #[test]
    fn names_are_those_that_the_api_server_admits() {
        let longest = "a".repeat(LABEL);
        let parts = [&*longest; 4].join(".");
        let subdomain = &parts[..SUBDOMAIN];
        check(Kind::Service, &longest, &longest, true);
        check(Kind::Service, "d", "1-a", true);
        check(Kind::Node, "", subdomain, true);
        check(Kind::EndpointSlice, "d", "web.v1-x7", true);
        for bad in ["", "a/b", "a\nb", "A", "-a", "a-", "ä", "a.b", &format!("{longest}a")] {
            check(Kind::Service, "d", bad, false);
            check(Kind::Service, bad, "a", bad.is_empty());
        }
        for bad in ["", "a..b", ".a", "a/b", "N1", &format!("{subdomain}.a")] {
            check(Kind::Node, "", bad, false);
        }
    }

    #[test]
    fn what_is_wrong_with_a_name_is_said_in_one_line() {
        let error = check_name(Kind::Service, &NamespacedName::new("d", "a\nb")).unwrap_err();
        let advice = "is no DNS label; use up to 63 of a-z, 0-9 and -";
        assert_eq!(error, format!(r#"the name "a\nb" {advice}"#));
    }
}
