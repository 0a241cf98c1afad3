//! Every refusal there is: one table for all routes.

use axum::http::StatusCode;

/// Makes [`ErrorCode`] and its table of these rows.
macro_rules! codes {
    ($($code:ident $word:literal $status:ident $wait:literal $said:literal;)*) => {
        /// Why a request cannot be done. A few have the word of another one, under another status or with other words.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in crate::http) enum ErrorCode { $($code),* }

        impl ErrorCode {
            /// The stable word for it in answers.
            pub(in crate::http) fn as_str(self) -> &'static str {
                match self { $(Self::$code => $word),* }
            }

            pub(in crate::http) fn status(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status),* }
            }

            /// After how many seconds it is worth asking again; 0: that is not told.
            pub(in crate::http) fn wait(self) -> u64 {
                match self { $(Self::$code => $wait),* }
            }

            /// What a person is told, where the request has nothing to add.
            pub(in crate::http) fn said(self) -> &'static str {
                match self { $(Self::$code => $said),* }
            }
        }
    };
}

codes! {
    // The route, and the request as HTTP.
    NotFound             "NOT_FOUND"               NOT_FOUND              0  "there is no such route";
    MethodNotAllowed     "METHOD_NOT_ALLOWED"      METHOD_NOT_ALLOWED     0  "this route does not take this method; the header Allow names those it takes";
    InvalidTarget        "INVALID_TARGET"          BAD_REQUEST            0  "the request target must be a path";
    InvalidHost          "INVALID_HOST"            BAD_REQUEST            0  "there must be one Host, and the request target must not name another one";
    InvalidForwarded     "INVALID_FORWARDED"       BAD_REQUEST            0  "the client's address cannot be read";
    Misdirected          "MISDIRECTED_REQUEST"     MISDIRECTED_REQUEST    0  "this server does not answer for this host";
    UpgradeRequired      "UPGRADE_REQUIRED"        UPGRADE_REQUIRED       0  "this route speaks WebSocket only";
    InvalidSubprotocol   "INVALID_SUBPROTOCOL"     BAD_REQUEST            0  "Sec-WebSocket-Protocol must offer qrcast.v1, or be left out";
    // The caller.
    Unauthorized         "UNAUTHORIZED"            UNAUTHORIZED           0  "this call needs an API key, or a stream token of the session";
    TokenExpired         "TOKEN_EXPIRED"           UNAUTHORIZED           0  "the stream token has expired; get a new one";
    Forbidden            "FORBIDDEN"               FORBIDDEN              0  "this key or token does not allow this call";
    ForeignOrigin        "FORBIDDEN"               FORBIDDEN              0  "pages of this origin may not use this server";
    RateLimited          "RATE_LIMITED"            TOO_MANY_REQUESTS      0  "Too many requests";
    // Parameters and bodies.
    InvalidSessionId     "INVALID_SESSION_ID"      BAD_REQUEST            0  "this is not the id of a session";
    InvalidUserId        "INVALID_USER_ID"         BAD_REQUEST            0  "this is not a user id";
    InvalidCursor        "INVALID_CURSOR"          BAD_REQUEST            0  "lastEventId: the id of an event, as it came";
    InvalidListCursor    "INVALID_CURSOR"          BAD_REQUEST            0  "cursor: the nextCursor of an earlier answer, as it came";
    InvalidQuery         "INVALID_QUERY"           BAD_REQUEST            0  "the query cannot be read";
    InvalidBody          "INVALID_BODY"            BAD_REQUEST            0  "the body cannot be read";
    BodyTooLarge         "BODY_TOO_LARGE"          PAYLOAD_TOO_LARGE      0  "the body is too large";
    RequestTimeout       "REQUEST_TIMEOUT"         REQUEST_TIMEOUT        0  "the body did not come within 10 s";
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE"  UNSUPPORTED_MEDIA_TYPE 0  "the body is not plain JSON";
    InvalidKey           "INVALID_IDEMPOTENCY_KEY" BAD_REQUEST            0  "the Idempotency-Key cannot be read";
    KeyReused            "IDEMPOTENCY_KEY_REUSED"  UNPROCESSABLE_ENTITY   0  "this Idempotency-Key was used with another body; take a new one for another request";
    KeyRunning           "IDEMPOTENCY_KEY_RUNNING" CONFLICT               0  "the first request with this Idempotency-Key is still running; ask again for its answer";
    // The session.
    SessionNotFound      "SESSION_NOT_FOUND"       NOT_FOUND              0  "there is no session with this id";
    SessionLimit         "SESSION_LIMIT"           TOO_MANY_REQUESTS      60 "there are too many sessions; delete one first";
    SessionEnded         "SESSION_ENDED"           GONE                   0  "the session has ended";
    QrNotReady           "QR_NOT_READY"            CONFLICT               1  "WhatsApp has not given a QR for this session yet; ask again";
    QrExpired            "QR_EXPIRED"              GONE                   0  "every QR of this session has expired; restart it for a new one";
    AlreadyConnected     "ALREADY_CONNECTED"       CONFLICT               0  "the session is linked; there is nothing to scan";
    NoPasskeyStep        "NO_PASSKEY_STEP"         CONFLICT               0  "the session does not wait for this passkey step; follow its `passkey` events";
    OwnerSilent          "OWNER_SILENT"            GATEWAY_TIMEOUT        0  "the session did not answer within 20 s; try again";
    // What WhatsApp answers when it is asked for a pairing code, in its own words.
    CodeBadRequest       "BAD_REQUEST"             BAD_REQUEST            0  "WhatsApp gives no pairing code for this number";
    CodeInvalidNumber    "INVALID_NUMBER"          BAD_REQUEST            0  "WhatsApp gives no pairing code for this number";
    CodeForbidden        "FORBIDDEN"               FORBIDDEN              0  "WhatsApp gives no pairing code for this number";
    CodeRateOverlimit    "RATE_OVERLIMIT"          TOO_MANY_REQUESTS      0  "WhatsApp gives no pairing code for this number now; wait before you ask again";
    CodeNotAvailable     "FEATURE_NOT_AVAILABLE"   UNPROCESSABLE_ENTITY   0  "WhatsApp gives no pairing code for this number; scan a QR instead";
    CodeExpired          "CODE_EXPIRED"            CONFLICT               0  "the pairing code expired before it was used; ask for a new one";
    CodeFailed           "INTERNAL_ERROR"          BAD_GATEWAY            0  "WhatsApp gives no pairing code for this number";
    // This server. The words of `INIT_ERROR` are those of the old service.
    Draining             "DRAINING"                SERVICE_UNAVAILABLE    1  "this server is about to stop; ask again";
    StoreAway            "STORE_AWAY"              SERVICE_UNAVAILABLE    5  "the store cannot be used now; try again";
    StoreDamaged         "STORE_DAMAGED"           INTERNAL_SERVER_ERROR  0  "what is stored of this session is damaged; `qrcast check-store` says what";
    InitNotNow           "INIT_ERROR"              SERVICE_UNAVAILABLE    5  "Session başlatma hatası";
    InitFailed           "INIT_ERROR"              INTERNAL_SERVER_ERROR  0  "Session başlatma hatası";
    Internal             "INTERNAL_ERROR"          INTERNAL_SERVER_ERROR  0  "this server failed; its log says why";
}

impl ErrorCode {
    /// The header or parameter that it is about, where that is always the same one.
    pub(super) fn field(self) -> Option<&'static str> {
        match self {
            Self::InvalidHost | Self::Misdirected => Some("Host"),
            Self::InvalidSubprotocol => Some("Sec-WebSocket-Protocol"),
            Self::InvalidSessionId => Some("sessionId"),
            Self::InvalidUserId => Some("userId"),
            Self::InvalidCursor => Some("lastEventId"),
            Self::InvalidListCursor => Some("cursor"),
            Self::InvalidKey | Self::KeyReused | Self::KeyRunning => Some("Idempotency-Key"),
            _ => None,
        }
    }
}
