//! Control plane: admin API, customer API, webhooks.
