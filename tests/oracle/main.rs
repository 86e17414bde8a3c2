//! Random clusters through an independent model of kube-proxy, our datapath natively, and the
//! kernel: all three must say the same of every packet.

mod agent;
mod compare;
mod execute;
mod generate;
mod history;
mod random;
mod render;
mod rows;
