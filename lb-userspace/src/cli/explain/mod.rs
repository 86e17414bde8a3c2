//! `waggle explain`: what the datapath would do with a packet, and why.
//!
//! It reads the pinned maps and changes nothing, so it needs no agent and disturbs none.

mod question;
mod report;
mod route;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use lb_common::abi::flow::Hook;
use lb_common::abi::{interface, map};
use lb_common::net::protocol;
use lb_common::parse::Link;
use lb_common::verdict::Verdict;
use nix::net::if_::{if_indextoname, if_nametoindex};

use self::question::{Destination, Source};
use self::report::{Hop, Report};
use self::route::Route;
use super::Global;
use super::output::{self, Format};
use crate::datapath::pins::Pins;
use crate::explain::{Explained, Live, Origin, Settings, Step, balanced, explain, frame};
use crate::flows;

pub(super) const HELP: &str = "\
Examples:
  waggle explain 10.1.0.2:40000 10.96.0.10:80
  waggle explain 10.1.0.2 10.96.0.10:53/UDP      with any source port: lists all backends
  waggle explain [fd00::2]:40000 [fd00:96::10]:80 --from eth0 --to cni0
The packet is one that begins a conversation, or the next of a flow that is there. The very code of the
datapath decides, over the maps as they are; nothing is changed.
What a process of this node dials is translated before there is a packet: this shows packets alone.";

/// Stands in for a source port that was not given.
const SOME_PORT: u16 = 40_000;
/// Ifindex of the loopback device.
const LOOPBACK: u32 = 1;

/// Flags of `waggle explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Who sends the packet
    #[arg(value_name = "SRC[:PORT]")]
    source: Source,
    /// What it is sent to
    #[arg(value_name = "DST:PORT[/PROTOCOL]")]
    destination: Destination,
    /// The interface that it enters by; unless given, the one that leads to the source
    #[arg(long, value_name = "IFACE")]
    from: Option<String>,
    /// The interface that it leaves by; unless given, the one that leads to where it goes
    #[arg(long, value_name = "IFACE")]
    to: Option<String>,
}

pub(super) fn run(global: &Global, args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let pins = Pins::new(&global.bpffs);
    let shown = pins.maps();
    let shown = shown.display();
    let now = flows::now().context("read the monotonic clock")?;
    let mut notes = Vec::new();
    let settings = settings(&pins, &mut notes);
    let live = Live::from_pins(&pins.maps(), settings, now).with_context(|| {
        format!("open the maps in {shown}; has an agent run with this --bpffs, and are you root?")
    })?;
    let report = report(&live, args, notes)?;
    match global.output {
        Format::Json => output::json(&report)?,
        Format::Table => output::text(&report.to_string())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings of the loaded programs, else the usual ones and a note.
fn settings(pins: &Pins, notes: &mut Vec<String>) -> Settings {
    let why = match Settings::of_users(&pins.map(map::FLOWS_V4)) {
        Ok(Some(settings)) => return settings,
        Ok(None) => "no program is loaded".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    notes
        .push(format!("the settings of the programs are not known ({why}): taken as the defaults"));
    Settings::default()
}

fn report(live: &Live, args: &ExplainArgs, notes: Vec<String>) -> anyhow::Result<Report> {
    let src = SocketAddr::new(args.source.ip, args.source.port.unwrap_or(SOME_PORT));
    let dst = args.destination.address;
    let Some(packet) = frame::first(src, dst, args.destination.protocol) else {
        bail!("{src} and {dst} are of different families: give two addresses of one");
    };
    let origin = origin(args.from.as_deref(), src.ip())?;
    let mut report = Report { notes, candidates: Vec::new(), hops: Vec::new(), end: None };
    let entered = enter(live, args, (src, origin), &packet, &mut report)?;
    let goes_on = matches!(entered.verdict, Verdict::Pass | Verdict::Rewritten);
    let enters = ("enters", interface_name(origin.ifindex));
    let packet = entered.packet.clone();
    report.hops.push(Hop::new(enters, (src, dst), protocol_name(args), entered));
    if goes_on {
        leave(live, args, origin, &packet, &mut report)?;
    }
    Ok(report)
}

/// What becomes of it where it enters. Where the choice depends on a port that was not given, `report`
/// says so.
fn enter(
    live: &Live,
    args: &ExplainArgs,
    (src, origin): (SocketAddr, Origin),
    packet: &[u8],
    report: &mut Report,
) -> anyhow::Result<Explained> {
    let Destination { address: dst, protocol } = args.destination;
    live.place(origin);
    let mut entered = explain(live, Hook::Ingress, Link::Raw, packet)?;
    let balanced = balanced(live, (src, dst), protocol)?;
    if let (Some((list, backends)), Some(at)) = (balanced, service_step(&entered)) {
        entered.steps.insert(at, Step::Policy { list });
        if args.source.port.is_none() {
            report.candidates = backends;
            report.notes.push(format!(
                "the choice depends on the source port: {SOME_PORT} stands in for it"
            ));
        }
    }
    Ok(entered)
}

/// What becomes of it where it leaves, if it does.
fn leave(
    live: &Live,
    args: &ExplainArgs,
    origin: Origin,
    packet: &[u8],
    report: &mut Report,
) -> anyhow::Result<()> {
    let Some((src, dst)) = frame::ends(packet) else { return Ok(()) };
    match way_out(args.to.as_deref(), dst.ip())? {
        Route::By(ifindex) => {
            live.place(Origin { ifindex, ..origin });
            let left = explain(live, Hook::Egress, Link::Raw, packet)?;
            let leaves = ("leaves", interface_name(ifindex));
            report.hops.push(Hop::new(leaves, (src, dst), protocol_name(args), left));
        }
        Route::Here => {
            report.end = Some(format!("{dst} is this node itself: it leaves by no interface"));
        }
        Route::None => report.end = Some(format!("no route to {}: say --to", dst.ip())),
    }
    Ok(())
}

fn protocol_name(args: &ExplainArgs) -> String {
    protocol::name(args.destination.protocol).unwrap_or("?").to_owned()
}

fn service_step(explained: &Explained) -> Option<usize> {
    explained.steps.iter().position(|step| matches!(step, Step::Service { .. }))
}

/// Where packets of `src` come from.
fn origin(from: Option<&str>, src: IpAddr) -> anyhow::Result<Origin> {
    if let Some(name) = from {
        return Ok(Origin { ifindex: index(name)?, is_own: false });
    }
    Ok(match route::to(src)? {
        Route::By(ifindex) => Origin { ifindex, is_own: false },
        Route::Here => Origin { ifindex: LOOPBACK, is_own: true },
        Route::None => Origin { ifindex: interface::NODE, is_own: false },
    })
}

fn way_out(to: Option<&str>, dst: IpAddr) -> anyhow::Result<Route> {
    to.map_or_else(|| route::to(dst), |name| Ok(Route::By(index(name)?)))
}

fn index(name: &str) -> anyhow::Result<u32> {
    if_nametoindex(name).with_context(|| format!("find interface {name}; `ip link` lists them"))
}

fn interface_name(index: u32) -> String {
    let name = if_indextoname(index).ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "an unknown interface".to_owned())
}
