//! realtime-gateway
