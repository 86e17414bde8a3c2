//! Another generation of maps takes over: everything that is attached gets its programs in one go.
//!
//! Nothing slow stands between the last look at the old maps and the new programs: what flows begin
//! in between is known to one side only until the end.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Agent, start};
use crate::config::Config;
use crate::datapath::attach::Attacher;
use crate::datapath::sockets;
use crate::maps::{Capacities, ReadBack as _, growth};
use crate::netlink::{self, Network};

impl Agent {
    /// Makes room for what waits to be written, as far as the settings allow. What finds none even so is
    /// told when it is to be written.
    pub(super) async fn make_room(&mut self) -> anyhow::Result<()> {
        let (now, limits) = (self.reconciler.maps().capacities(), self.config.capacities);
        let demand = self.reconciler.demand();
        let wanted = demand.and_then(|demand| growth::wanted(&demand, &now, &limits));
        let Some(wanted) = wanted.filter(|wanted| self.refused != Some(*wanted)) else {
            return Ok(());
        };
        if let Err(error) = self.grow(&wanted).await {
            tracing::warn!(
                ?wanted,
                "the maps cannot grow, going on with those there are: {error:#}"
            );
            self.refused = Some(wanted);
            return Ok(());
        }
        tracing::info!(?wanted, "the maps have grown");
        // From here on the maps so far are nobody's: without the new ones it is better to start again.
        self.reconciler.replace_maps(start::maps(&self.config)?);
        self.terminator = start::terminate_sockets(&self.config, &self.metrics)?;
        Ok(())
    }

    /// After an error everything is as it was.
    async fn grow(&mut self, wanted: &Capacities) -> anyhow::Result<()> {
        let larger = self.attacher.datapath().resized(wanted)?;
        let before = self.attacher.replace(larger);
        let outcome = succeed(&mut self.attacher, &self.config, &self.network).await;
        if outcome.is_err() {
            self.attacher.replace(before);
        }
        outcome
    }
}

/// Puts the maps of the loaded object in force. Where other maps were before, whatever is attached
/// changes over to its programs, and they go. After an error they are still in force.
pub(super) async fn succeed(
    attacher: &mut Attacher,
    config: &Config,
    network: &watch::Receiver<Arc<Network>>,
) -> anyhow::Result<()> {
    let targets = netlink::targets(&network.borrow().interfaces, &config.interfaces);
    // What cannot be loaded is told when it is to be attached.
    attacher.prepare(&targets).ok();
    sockets::prepare(attacher.datapath(), &config.sockets).ok();
    if attacher.datapath().take_over()? {
        tracing::info!("the maps change: everything gets new programs");
        attacher.sync(&targets).await;
    }
    start::attach_sockets(config, attacher);
    if let Err(error) = attacher.datapath().settle() {
        tracing::warn!("the maps of before stay until the next start: {error}");
    }
    Ok(())
}
