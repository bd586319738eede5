//! One competitor of a contest, and the load it gets.

use std::net::SocketAddr;

use super::server::Server;

/// One competitor: a server and what is asked of it.
pub(super) struct Line<'a> {
    pub(super) name: &'static str,
    pub(super) server: &'a Server,
    pub(super) path: &'static str,
    pub(super) body: &'a str,
    pub(super) headers: Vec<(String, String)>,
    pub(super) is_reference: bool,
}

/// How much load, how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) connections: u32,
    pub(super) seconds: u64,
}

impl<'a> Line<'a> {
    pub(super) fn new(
        name: &'static str,
        server: &'a Server,
        path: &'static str,
        body: &'a str,
    ) -> Self {
        Self { name, server, path, body, headers: Vec::new(), is_reference: false }
    }

    /// The others are compared with this one.
    pub(super) fn reference(mut self) -> Self {
        self.is_reference = true;
        self
    }

    pub(super) fn key(self, secret: &str) -> Self {
        self.header("authorization", &format!("Bearer {secret}"))
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address
    }
}
