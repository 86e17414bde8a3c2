//! The flags of `waggle run` that say how long flows last without a packet.

use clap::Args;
use jiff::SignedDuration;
use lb_common::clock::Ticks;
use lb_common::decide::state::Timeouts;

/// The flags. They are named as kube-proxy's.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "they are named as their flags")]
#[command(next_help_heading = "How long flows last without a packet; 0 = the default")]
pub(super) struct TimeoutArgs {
    /// Established TCP connections
    #[arg(long, value_name = "DURATION", default_value = "24h0m0s", value_parser = seconds)]
    conntrack_tcp_timeout_established: u32,
    /// TCP connections that one side has closed
    #[arg(long, value_name = "DURATION", default_value = "1h0m0s", value_parser = seconds)]
    conntrack_tcp_timeout_close_wait: u32,
    /// UDP flows that nobody has answered
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = seconds)]
    conntrack_udp_timeout: u32,
    /// UDP flows with traffic both ways
    #[arg(long, value_name = "DURATION", default_value = "3m0s", value_parser = seconds)]
    conntrack_udp_timeout_stream: u32,
}

impl TimeoutArgs {
    pub(super) fn timeouts(&self) -> Timeouts {
        let or_default = |seconds, default| match seconds {
            0 => default,
            seconds => Ticks::in_seconds(seconds),
        };
        let Timeouts { tcp_established, tcp_closing, udp_unanswered, udp_answered, .. } =
            Timeouts::DEFAULT;
        Timeouts {
            tcp_established: or_default(self.conntrack_tcp_timeout_established, tcp_established),
            tcp_closing: or_default(self.conntrack_tcp_timeout_close_wait, tcp_closing),
            udp_unanswered: or_default(self.conntrack_udp_timeout, udp_unanswered),
            udp_answered: or_default(self.conntrack_udp_timeout_stream, udp_answered),
            ..Timeouts::DEFAULT
        }
    }
}

/// Reads a duration as Go writes it; parts of a second count as a whole one.
fn seconds(text: &str) -> Result<u32, &'static str> {
    const HELP: &str = "this is no duration; write it as 24h, 1h30m or 90s";
    if text == "0" {
        return Ok(0);
    }
    let duration: SignedDuration = text.parse().map_err(|_| HELP)?;
    let seconds = duration.as_secs() + i64::from(duration.subsec_nanos() > 0);
    match u32::try_from(seconds) {
        Ok(seconds) if !duration.is_negative() => Ok(seconds),
        Ok(_) => Err("a duration cannot be negative"),
        Err(_) => Err("give a duration between 0 and 100 years"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        timeouts: TimeoutArgs,
    }

    fn parse(line: &str) -> Timeouts {
        let words = ["waggle"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).expect(line).timeouts.timeouts()
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let check = |text, expected| assert_eq!(seconds(text).ok(), expected, "{text}");
        check("24h0m0s", Some(86_400));
        check("1h30m", Some(5400));
        check("90s", Some(90));
        check("1.5h", Some(5400));
        check("100ms", Some(1));
        check("0s", Some(0));
        check("0", Some(0));
        for junk in ["", "30", "h", "-30s", "one hour", "9999999h"] {
            check(junk, None);
        }
    }

    #[test]
    fn flags_set_what_they_name_and_0_and_nothing_mean_the_default() {
        assert_eq!(parse(""), Timeouts::DEFAULT);
        let zeros = "--conntrack-tcp-timeout-established 0s --conntrack-udp-timeout 0";
        assert_eq!(parse(zeros), Timeouts::DEFAULT);
        let all = "--conntrack-tcp-timeout-established 2h --conntrack-tcp-timeout-close-wait 1m \
                   --conntrack-udp-timeout 10s --conntrack-udp-timeout-stream 20s";
        let expected = Timeouts {
            tcp_established: Ticks::in_seconds(7200),
            tcp_closing: Ticks::in_seconds(60),
            udp_unanswered: Ticks::in_seconds(10),
            udp_answered: Ticks::in_seconds(20),
            ..Timeouts::DEFAULT
        };
        assert_eq!(parse(all), expected);
    }
}
