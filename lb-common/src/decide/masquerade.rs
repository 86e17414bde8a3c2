//! Whether a backend must see an address of this node instead of the client's
//! (kube-proxy-behaviour §4.3), by the setting of `--masquerade`.

use super::client::Client;
use crate::abi::backend;
use crate::abi::frontend::{self, Frontend};
use crate::abi::prefix::client::{NODE, POD, UNTOLD};
use crate::abi::settings::masquerade::{ALL, LOCAL_BACKENDS};
use crate::net::Address;
use crate::tables::Tables;

/// Whether `client`, which dialled `frontend`, is hidden from a backend with these flags. A backend
/// that dials itself is always hidden from itself, whatever this says.
#[inline(always)]
pub(super) fn hides<A: Address, T: Tables<A>>(
    tables: &T,
    client: Client,
    frontend: Frontend,
    backend: u16,
) -> bool {
    let setting = tables.masquerade();
    if frontend.flags & frontend::flags::EXTERNAL == 0 {
        // Where nobody can tell pods from others, everybody may be one.
        return setting & ALL != 0 || !client.is_any_of(POD | UNTOLD);
    }
    let answers_elsewhere = backend & backend::flags::LOCAL == 0;
    let policy_local = frontend.flags & frontend::flags::LOCAL != 0;
    (answers_elsewhere || setting & LOCAL_BACKENDS != 0)
        && (!policy_local || client.is_any_of(NODE))
}
