//! The server around the routers, over real sockets.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::support::Api;

#[tokio::test]
async fn it_serves_until_it_is_told_to_end_and_ends_requests_first() {
    let api = Api::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let until = async move { drop(stopped.await) };
    let server = tokio::spawn(weir_api::serve::serve(listener, api.admin.clone(), until));

    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");

    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "it still listens");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let api = Api::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let until = std::future::pending();
    let server = tokio::spawn(weir_api::serve::serve(listener, api.admin.clone(), until));
    let mut client = TcpStream::connect(address).await.unwrap();
    let head = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    drop(client.write_all(head.as_bytes()).await);
    let mut answer = String::new();
    drop(client.read_to_string(&mut answer).await);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    server.abort();
}

#[tokio::test]
async fn who_had_connected_when_the_end_began_is_answered() {
    let api = Api::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let until = async move { drop(stopped.await) };
    let server = tokio::spawn(weir_api::serve::serve(listener, api.admin.clone(), until));
    let mut client = TcpStream::connect(address).await.unwrap();
    // When one that came later is answered, it is accepted.
    let mut later = TcpStream::connect(address).await.unwrap();
    later.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
    later.read_to_end(&mut Vec::new()).await.unwrap();
    stop.send(()).unwrap();
    while TcpStream::connect(address).await.is_ok() {}
    client.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
}
