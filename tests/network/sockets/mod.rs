//! Services at the socket: processes of the node, and pods where the setting says so.

mod lifecycle;
mod neighbours;
mod refusals;
mod table;
