//! The control layer: Kubernetes objects or plans in, map contents out, over maps in memory. Needs nothing.
//!
//! The maps assert after every single write that nothing visible dangles (I4).

#[cfg(test)]
mod crash;
#[cfg(test)]
mod drift;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod maglev;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod property;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod room;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod writes;
