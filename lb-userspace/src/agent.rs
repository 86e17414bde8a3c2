//! The agent: wiring only.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::datapath::attach::Attacher;
use crate::datapath::bpffs;
use crate::datapath::load::Datapath;
use crate::datapath::pins::Pins;
use crate::netlink;

/// Runs until SIGTERM or SIGINT, and then leaves everything in place.
pub async fn run(config: Config) -> anyhow::Result<()> {
    if bpffs::ensure(&config.bpffs)
        .with_context(|| format!("mount a BPF file system at {}", config.bpffs.display()))?
    {
        tracing::info!(dir = %config.bpffs.display(), "mounted a BPF file system");
    }
    let pins = Pins::new(&config.bpffs);
    let method = config.attach.method()?;
    let datapath = Datapath::load(&pins, &config.capacities)?;
    let mut attacher = Attacher::new(datapath, pins, method, config.order);
    let stop = CancellationToken::new();
    let mut network = netlink::follow(stop.clone()).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        let targets = netlink::targets(&network.borrow_and_update().interfaces, &config.interfaces);
        attacher.sync(&targets).await;
        tokio::select! {
            changed = network.changed() => changed?,
            _ = terminate.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    stop.cancel();
    Ok(())
}
