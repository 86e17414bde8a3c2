//! The maps of sockets over memory.

use super::{FamilyMaps, MemoryTables};
use crate::abi::bind::RefusedBind;
use crate::abi::socket::{Socket, SocketKey};
use crate::net::{Addr4, Addr6, Port};
use crate::tables::{InsertError, Processes, Sockets};

impl<A: Copy + Ord> FamilyMaps<A> {
    /// All entries of sockets, in the order of their keys.
    #[must_use]
    pub fn sockets(&self) -> Vec<(SocketKey<A>, Socket<A>)> {
        self.sockets.borrow().iter().map(|(key, socket)| (*key, *socket)).collect()
    }
}

macro_rules! memory_sockets {
    ($address:ty, $family:ident) => {
        impl Sockets<$address> for MemoryTables {
            fn socket(&self, key: &SocketKey<$address>) -> Option<Socket<$address>> {
                self.$family.sockets.borrow().get(key).copied()
            }

            fn keep_socket(
                &self,
                key: &SocketKey<$address>,
                socket: &Socket<$address>,
            ) -> Result<(), InsertError> {
                let mut sockets = self.$family.sockets.borrow_mut();
                let is_full = self.flow_capacity.is_some_and(|capacity| sockets.len() >= capacity);
                if is_full && !sockets.contains_key(key) {
                    return Err(InsertError::Refused);
                }
                sockets.insert(*key, *socket);
                Ok(())
            }

            fn forget_socket(&self, key: &SocketKey<$address>) {
                self.$family.sockets.borrow_mut().remove(key);
            }

            fn random(&self) -> u16 {
                self.random.replace(self.random.get().wrapping_add(1))
            }
        }
    };
}
memory_sockets!(Addr4, v4);
memory_sockets!(Addr6, v6);

impl Processes for MemoryTables {
    fn exempts(&self, key: u64) -> bool {
        self.exempt.contains(&key)
    }

    fn ancestor_cgroup(&self, level: i32) -> u64 {
        let above = usize::try_from(level - 1).ok().and_then(|index| self.cgroups.get(index));
        above.copied().unwrap_or_default()
    }

    fn tell_bind(&self, service: u32, port: Port, protocol: u8) {
        let bind = RefusedBind { service, port, protocol, ..RefusedBind::default() };
        self.refused_binds.borrow_mut().push(bind);
    }
}
