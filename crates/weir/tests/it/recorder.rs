//! An upstream that keeps every byte it gets, and reads them as strictly as can be.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What one connection brought.
#[derive(Clone, Default)]
struct Taken {
    bytes: Vec<u8>,
}

/// A recording upstream; it ends with the test process.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    taken: Arc<Mutex<Vec<Arc<Mutex<Taken>>>>>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let taken: Arc<Mutex<Vec<Arc<Mutex<Taken>>>>> = Arc::default();
        let all = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let one = Arc::<Mutex<Taken>>::default();
                all.lock().expect("no panic").push(Arc::clone(&one));
                std::thread::spawn(move || answer(stream, &one));
            }
        });
        Self { address, taken }
    }

    /// The requests that came whole, as `METHOD target body-length`, sorted; a request that was cut off
    /// counts as none.
    ///
    /// Panics where anything could be read in two ways.
    #[track_caller]
    pub(crate) fn requests(&self) -> Vec<String> {
        let mut lines = self.whole(|whole| whole.line);
        lines.sort();
        lines
    }

    /// The bodies of the requests that came whole.
    #[track_caller]
    pub(crate) fn bodies(&self) -> Vec<Vec<u8>> {
        self.whole(|whole| whole.body)
    }

    #[track_caller]
    fn whole<T>(&self, of: impl Fn(Whole<'_>) -> T) -> Vec<T> {
        let mut found = Vec::new();
        for taken in self.taken.lock().expect("no panic").iter() {
            let bytes = taken.lock().expect("no panic").bytes.clone();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                match strict(rest).unwrap_or_else(|why| panic!("{why}: {}", shown(&bytes))) {
                    Some(whole) => {
                        rest = whole.after;
                        found.push(of(whole));
                    }
                    None => break,
                }
            }
        }
        found
    }
}

impl Recorder {
    /// All bytes of all connections.
    pub(crate) fn text(&self) -> String {
        let all = self.taken.lock().expect("no panic");
        let texts = all
            .iter()
            .map(|one| String::from_utf8_lossy(&one.lock().expect("no panic").bytes).into_owned());
        texts.collect()
    }
}

/// Answers every whole request with two bytes.
fn answer(mut stream: TcpStream, taken: &Mutex<Taken>) {
    let mut done = 0;
    let mut piece = [0; 65_536];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        let mut taken = taken.lock().expect("no panic");
        taken.bytes.extend_from_slice(&piece[..count]);
        while let Ok(Some(whole)) = strict(&taken.bytes[done..]) {
            done = taken.bytes.len() - whole.after.len();
            let sent = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            if sent.is_err() {
                return;
            }
        }
    }
}

/// A request that is whole.
struct Whole<'a> {
    /// `METHOD target body-length`.
    line: String,
    body: Vec<u8>,
    /// What follows it.
    after: &'a [u8],
}

/// The first request; `None` if it is not whole.
fn strict(bytes: &[u8]) -> Result<Option<Whole<'_>>, &'static str> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is no text")?;
    let mut lines = head.split("\r\n");
    let line: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1"] = line[..] else { return Err("a bad request line") };
    let method_is_sound = method.bytes().all(|byte| byte.is_ascii_uppercase());
    if !method_is_sound || method == "CONNECT" || !target.starts_with('/') {
        return Err("a bad request line");
    }
    let (mut hosts, mut lengths, mut chunked) = (0, Vec::new(), 0);
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or("a line that is no header")?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_!#$%&'*+.^`|~".contains(&byte);
        if !name.bytes().all(token) || name.is_empty() {
            return Err("a name that is none");
        }
        if value.bytes().any(|byte| byte < b' ' && byte != b'\t') || value.contains('\x7f') {
            return Err("a control character in a value");
        }
        match name.to_ascii_lowercase().as_str() {
            "host" => hosts += 1,
            "content-length" => {
                if !value.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err("a length that is no number");
                }
                lengths.push(value.parse::<usize>().map_err(|_| "a length out of range")?);
            }
            "transfer-encoding" if value == "chunked" => chunked += 1,
            "transfer-encoding" => return Err("another coding than chunked"),
            "upgrade" | "expect" | "te" => return Err("a header of another connection"),
            "authorization" | "x-api-key" => return Err("a customer's key"),
            _ => {}
        }
    }
    let rest = &bytes[end + 4..];
    let (body, after) = match (hosts, &lengths[..], chunked) {
        (1, [], 0) => (Vec::new(), rest),
        (1, [length], 0) if rest.len() < *length => return Ok(None),
        (1, [length], 0) => (rest[..*length].to_vec(), &rest[*length..]),
        (1, [], 1) => match strict_chunks(rest)? {
            Some(whole) => whole,
            None => return Ok(None),
        },
        (1, ..) => return Err("a body of two lengths"),
        _ => return Err("not one Host"),
    };
    Ok(Some(Whole { line: format!("{method} {target} {}", body.len()), body, after }))
}

/// A body that is whole, and what follows it.
type Chunked<'a> = Option<(Vec<u8>, &'a [u8])>;

fn strict_chunks(mut rest: &[u8]) -> Result<Chunked<'_>, &'static str> {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&rest[..end]).map_err(|_| "a bad chunk size")?;
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("a bad chunk size");
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| "a bad chunk size")?;
        let data = &rest[end + 2..];
        if data.len() < size + 2 {
            return Ok(None);
        }
        if &data[size..size + 2] != b"\r\n" {
            return Err("a chunk without an end");
        }
        body.extend_from_slice(&data[..size]);
        rest = &data[size + 2..];
        if size == 0 {
            return Ok(Some((body, rest)));
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(4_000)]).escape_debug().to_string()
}
