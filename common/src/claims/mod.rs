//! Who calls: the claims of a bearer token, the same for HTTP and for the socket.
//!
//! Accepted are the shapes that the front end's sign-in has issued: `userId`, else `adminId`, else `sub`, and always
//! `churchId` and `exp`. The algorithm is pinned by the configured key and never taken from the token.

mod keys;
mod person;
mod verifier;

pub use person::{Claims, IdClaim, LEEWAY, Person};
pub use verifier::{JwtOptions, MAX_TOKEN_LEN, TokenError, TokenVerifier, bearer};
