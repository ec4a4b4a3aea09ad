//! message-api
