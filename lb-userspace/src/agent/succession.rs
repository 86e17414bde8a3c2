//! Another generation of maps takes over: everything that is attached gets its programs in one go.
//!
//! Nothing slow stands between the last look at the old maps and the new programs: what flows begin
//! in between is known to one side only until the end.

use std::sync::Arc;

use tokio::sync::watch;

use super::start::attach_sockets;
use crate::config::Config;
use crate::datapath::attach::Attacher;
use crate::datapath::sockets;
use crate::netlink::{self, Network};

/// Puts the maps of the loaded object in force. Where other maps were before, whatever is attached
/// changes over to its programs, and they go.
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
    attach_sockets(config, attacher);
    Ok(attacher.datapath().settle()?)
}
