//! Which events are shown. Pure.

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use ipnet::IpNet;
use lb_common::abi::counter::Counter;

use super::row::Row;
use crate::cli::inspect::is_of;

/// Filters; an event must pass all of them.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Filter {
    /// Only packets with an address of this prefix, before or after the translation
    #[arg(long, value_name = "IP|CIDR", value_parser = prefix)]
    address: Option<IpNet>,
    /// Only packets with this port, before or after the translation
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Only events of this service
    #[arg(long, value_name = "NAMESPACE/NAME[:PORT]")]
    service: Option<String>,
    /// Only this reason, as `waggle dump` lists them, or all that begin so: new, drop, reject, pass
    #[arg(long, value_name = "LABEL", value_parser = reason)]
    reason: Option<String>,
}

impl Filter {
    /// Whether `row` is to be shown.
    pub(super) fn admits(&self, row: &Row) -> bool {
        let sockets = [row.source, row.destination, row.new_source, row.new_destination];
        let sockets: Vec<SocketAddr> = sockets.into_iter().flatten().collect();
        let service = row.service.as_deref();
        self.address.is_none_or(|net| sockets.iter().any(|it| net.contains(&it.ip())))
            && self.port.is_none_or(|port| sockets.iter().any(|it| it.port() == port))
            && self.service.as_ref().is_none_or(|it| service.is_some_and(|name| is_of(name, it)))
            && self.reason.as_ref().is_none_or(|it| begins_with(row.reason, it))
    }
}

/// Whether `label` is `words` or goes on after it with another word.
fn begins_with(label: &str, words: &str) -> bool {
    label.strip_prefix(words).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

fn prefix(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse())
        .map_err(|_| "not an address or a prefix such as 10.0.0.0/8".into())
}

fn reason(text: &str) -> Result<String, String> {
    if Counter::ALL.iter().any(|counter| begins_with(counter.label(), text)) {
        return Ok(text.to_owned());
    }
    let labels: Vec<_> = Counter::ALL.iter().map(|counter| counter.label()).collect();
    Err(format!("no such reason; there are {}, or how they begin", labels.join(", ")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use lb_common::abi::event::Event;

    use super::super::row::tests::{new_flow, row};
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filter: Filter,
    }

    fn filter(flags: &str) -> Result<Filter, String> {
        let words = std::iter::once("trace").chain(flags.split_whitespace());
        Line::try_parse_from(words).map(|line| line.filter).map_err(|error| error.to_string())
    }

    /// Whether `flags` show a new flow 10.1.0.2:40000 -> 10.96.0.10:80 -> 10.1.0.3:8080 of
    /// `default/web:http/TCP`.
    #[track_caller]
    fn check(flags: &str, expected: bool) {
        assert_eq!(filter(flags).unwrap().admits(&row(&new_flow())), expected, "{flags}");
    }

    #[test]
    fn each_filter_shows_what_it_names_and_hides_the_rest() {
        check("", true);
        check("--address 10.1.0.2", true);
        check("--address 10.96.0.10", true);
        check("--address 10.1.0.3/32", true);
        check("--address 10.96.0.0/16", true);
        check("--address 10.97.0.0/16", false);
        check("--address fd00::/8", false);
        check("--port 40000", true);
        check("--port 80", true);
        check("--port 8080", true);
        check("--port 443", false);
        check("--service default/web", true);
        check("--service default/web:http", true);
        check("--service default/we", false);
        check("--reason new_flow", true);
        check("--reason new", true);
        check("--reason drop", false);
    }

    #[test]
    fn an_event_must_pass_every_filter() {
        check("--address 10.1.0.0/24 --port 80 --service default/web --reason new", true);
        check("--address 10.1.0.0/24 --port 81 --service default/web --reason new", false);
    }

    #[test]
    fn an_event_without_addresses_is_hidden_by_filters_for_them() {
        let unread = row(&Event::default());
        for (flags, expected) in [
            ("", true),
            ("--address 0.0.0.0/0", false),
            ("--port 0", false),
            ("--service a/b", false),
        ] {
            assert_eq!(filter(flags).unwrap().admits(&unread), expected, "{flags}");
        }
    }

    #[test]
    fn what_can_match_nothing_is_refused_with_what_can() {
        assert!(filter("--reason dropped").unwrap_err().contains("drop_source_range"));
        assert!(filter("--address web").unwrap_err().contains("10.0.0.0/8"));
    }
}
