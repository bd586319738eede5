//! The data plane over real sockets.

#[cfg(test)]
mod drain;
#[cfg(test)]
mod front;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod upstream;
