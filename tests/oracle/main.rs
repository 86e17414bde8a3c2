//! Random clusters through an independent model of kube-proxy, our datapath natively, and the
//! kernel: all three must say the same of every packet.

#[cfg(test)]
mod agent;
#[cfg(test)]
mod compare;
#[cfg(test)]
mod execute;
#[cfg(test)]
mod generate;
#[cfg(test)]
mod history;
#[cfg(test)]
mod random;
#[cfg(test)]
mod render;
#[cfg(test)]
mod rows;
