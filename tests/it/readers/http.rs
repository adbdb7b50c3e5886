//! The API on its socket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use podwright::model::{NodeInfo, Projection};
use podwright::port::{ErrorKind, PortError};
use podwright::report::{ProjectInput, project};
use podwright::serve::{LogReader, LogRequest, OpenId, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use super::foreign::Foreign;

/// No request of these takes longer; a watch ends by itself before.
const PATIENCE: Duration = Duration::from_secs(20);

const WORDS: &[&str] = &[
    "/api/v1",
    "/apis",
    "/namespaces/default",
    "/pods",
    "/events",
    "/nodes",
    "/log",
    "/x",
    "?",
    "&",
    "=",
    "%",
    "%zz",
    "%00",
    "%ff",
    "%2e%2e",
    "/..",
    "//",
    "labelSelector",
    "fieldSelector",
    "limit",
    "continue",
    "resourceVersion",
    "tailLines",
    "limitBytes",
    "sinceSeconds",
    "sinceTime",
    "container",
    "previous",
    "timeoutSeconds=1",
    "a in (b,c)",
    "!a",
    "-1",
    "18446744073709551616",
    "true",
    "é",
    "a=b",
    "metadata.name=x",
    ",",
    "(",
    ")",
];

struct NoLogs;

#[async_trait]
impl LogReader for NoLogs {
    async fn open(&self, _: &LogRequest) -> Result<mpsc::Receiver<std::io::Result<hyper::body::Bytes>>, PortError> {
        Err(PortError::new(ErrorKind::NotFound, "read the log of", "x", "there is none"))
    }
}

/// What stands between `GET ` and ` HTTP/1.1`.
pub fn targets() -> Foreign {
    let sample =
        "/api/v1/namespaces/default/pods?labelSelector=a%3Db&fieldSelector=metadata.name%3Dx&limit=5&resourceVersion=1";
    let reader = server(sample, false, |target| {
        [b"GET ", target, b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"].concat()
    });
    // What is well asked is answered.
    let answer = (reader.read)(sample.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
    reader
}

/// A whole request.
pub fn requests() -> Foreign {
    let sample = "GET /api/v1/pods HTTP/1.1\r\nHost: x\r\nAccept: application/json;as=Table;v=v1;g=meta.k8s.io\r\n";
    server(sample, true, |request| [request, b"Connection: close\r\n\r\n\r\n"].concat())
}

/// With `end` the client says that nothing follows its request.
fn server(sample: &str, end: bool, request: fn(&[u8]) -> Vec<u8>) -> Foreign {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let node = NodeInfo { name: "n".into(), ..NodeInfo::default() };
    let input = ProjectInput { admitted: None, pods: &[], events: &[], node: &node, now: jiff::Timestamp::UNIX_EPOCH };
    let (sender, receiver) = watch::channel(Arc::new(project(&input, &Projection::default())));
    runtime.block_on(async {
        let server = Server::bind(&socket).await.unwrap();
        let openid = OpenId { issuer: "https://a".into(), keys: Arc::new(Vec::new) };
        tokio::spawn(async move { server.serve(receiver, Arc::new(NoLogs), openid).await.unwrap() });
    });
    let ask = move |bytes: &[u8]| {
        // Both live as long as the server.
        let _ = (&directory, &sender);
        let answer = runtime.block_on(async {
            let exchange = async {
                let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
                // The server may have had enough before it read all.
                let _ = stream.write_all(&request(bytes)).await;
                // Whatever stood there, nothing follows: a server that waits for more has heard the end.
                if end {
                    let _ = stream.shutdown().await;
                }
                let mut answer = Vec::new();
                let _ = stream.take(1 << 20).read_to_end(&mut answer).await;
                answer
            };
            tokio::time::timeout(PATIENCE, exchange).await
        });
        String::from_utf8_lossy(&answer.expect("an end of the answer")).into_owned()
    };
    Foreign::new(sample, WORDS, ask).cases(150)
}
