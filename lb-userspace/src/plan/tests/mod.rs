//! The tables of `kube-proxy-behaviour.md`, claims, and the whole planner against itself.

mod claims;
mod frontends;
mod health;
mod lists;
mod planner;
mod surroundings;
