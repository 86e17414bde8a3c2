//! The decisions that the kernel object prints, in the agent's log.
//!
//! Only with the feature `datapath-log`; the released object prints nothing.

use anyhow::Context as _;
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use super::load::Datapath;

/// Passes on what the programs print until the agent ends.
pub fn follow(datapath: &mut Datapath) -> anyhow::Result<JoinHandle<()>> {
    let logger =
        EbpfLogger::init(datapath.ebpf()).context("open the log of the kernel programs")?;
    #[expect(deprecated, reason = "the logger keeps its file open for as long as it is watched")]
    let mut logger = AsyncFd::with_interest(logger, Interest::READABLE)
        .context("watch the log of the kernel programs")?;
    Ok(tokio::spawn(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    }))
}
