//! The claims of a bearer token, the same for HTTP and for Socket.IO.
//!
//! A token names its person by `userId`, else `adminId`, else `sub`, as the front end's sign-in issues them. `churchId`
//! and `exp` are required. The configured key decides the algorithm; the token never does.

mod keys;
mod person;
mod verifier;

pub use person::{Claims, IdClaim, LEEWAY, Person};
pub use verifier::{JwtOptions, MAX_TOKEN_LEN, TokenError, TokenVerifier, bearer};
