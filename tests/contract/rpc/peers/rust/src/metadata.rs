//! A stream of changed blocks that is long enough to meet flow control.

use tokio_stream::iter;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use crate::csi::snapshot_metadata_server::SnapshotMetadata;
use crate::csi::*;

const BLOCK_BYTES: i64 = 4096;
const BLOCK_COUNT: i64 = 20_000;
const MOST_BLOCKS: i64 = 256;

/// Every second block of each snapshot. Snapshot "missing" is not found, and the stream of "breaking" ends in
/// ABORTED after two messages.
pub struct Blocks;

#[tonic::async_trait]
impl SnapshotMetadata for Blocks {
    async fn get_metadata_allocated(
        &self,
        request: Request<GetMetadataAllocatedRequest>,
    ) -> Result<Response<BoxStream<GetMetadataAllocatedResponse>>, Status> {
        let request = request.into_inner();
        if request.snapshot_id == "missing" {
            return Err(Status::not_found("no snapshot \"missing\""));
        }
        let most = if request.max_results > 0 { i64::from(request.max_results) } else { MOST_BLOCKS };
        let messages = (0..BLOCK_COUNT.div_euclid(most) + i64::from(BLOCK_COUNT % most > 0)).map(move |index| {
            let blocks = index * most..BLOCK_COUNT.min((index + 1) * most);
            Ok(GetMetadataAllocatedResponse {
                block_metadata_type: BlockMetadataType::FixedLength.into(),
                volume_capacity_bytes: 2 * BLOCK_BYTES * BLOCK_COUNT,
                block_metadata: blocks
                    .map(|block| BlockMetadata { byte_offset: 2 * BLOCK_BYTES * block, size_bytes: BLOCK_BYTES })
                    .collect(),
            })
        });
        if request.snapshot_id == "breaking" {
            let end = std::iter::once(Err(Status::aborted("the snapshot is being deleted")));
            return Ok(Response::new(Box::pin(iter(messages.take(2).chain(end)))));
        }
        Ok(Response::new(Box::pin(iter(messages))))
    }
}
