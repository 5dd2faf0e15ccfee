"""What lets Ray start on a machine that is busy."""

# Ray reads these in every process of its own. Waiting longer for its raylet (by
# RAY_raylet_start_wait_time_s) would be wrong: that ends by itself on a busy machine, after seconds
# which cannot be set, and `start_ray` tries again.
PATIENT_RAY = {
    "RAY_gcs_server_port_wait_time_s": "600",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_gcs_server_request_timeout_seconds": "600",
    "RAY_gcs_rpc_server_connect_timeout_s": "600",
    "RAY_py_gcs_connect_timeout_s": "600",
    "RAY_health_check_timeout_ms": "600000",
}
