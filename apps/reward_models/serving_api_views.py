"""REST: scoring with a version, in our own words and in those of RLHF stacks."""

from collections.abc import Mapping
from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.accounts.models import ApiToken
from apps.core.errors import Conflict, FieldError, InvalidInput
from apps.projects.access import SEES_RESULTS, get_owned, get_project
from apps.reward_models import scores
from apps.reward_models.models import RewardModel
from apps.reward_models.reward_server import HOW_TO_START, RewardServerDown, answers
from apps.reward_models.services import current_model
from apps.reward_models.serving_serializers import (
    ClassifySerializer,
    GetRewardSerializer,
    GotRewardSerializer,
    ModelNamesSerializer,
    PairScoreSerializer,
    PoolingSerializer,
    PredictSerializer,
    RerankSerializer,
    RowsSerializer,
    ScoreRequestSerializer,
    ScoresSerializer,
    VerifiedSerializer,
    VerifySerializer,
)
from apps.signals.api_views import SHAPING
from worker.core.dialect_bodies import Asked, DialectError, Rewarded, read_items
from worker.core.dialects import DIALECTS

READ = ApiToken.Scope.READ
MODEL_HEADER = "X-Reward-Model"
PARAMETERS = [
    SHAPING,
    OpenApiParameter(
        "slug",
        str,
        OpenApiParameter.PATH,
        description="A project, for its promoted model. `/rm/{slug}/{reward model id}/…` is a given version of it.",
    ),
]


class RewardModelScore(APIView):
    """Scoring with a version, for managers and researchers."""

    scope = READ

    @extend_schema(request=ScoreRequestSerializer, responses=ScoresSerializer)
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Score responses to conversations. Nothing is stored, so a token that reads may ask."""
        model = get_owned(request.user, RewardModel.objects.select_related("scorer"), id, *SEES_RESULTS)
        try:
            wanted = read_items(request.data)
        except DialectError as error:
            raise invalid_body(error) from error
        scored = scores.score(
            model=model, asked=wanted.asked, shaping=wanted.shaping, references=wanted.references, most=wanted.most
        )
        body: dict[str, Any] = {
            "rewards": scored.rewards,
            "model": str(model.pk),
            "shaping": scored.shaper.name,
            "raw": scored.raw,
            "statistics": scored.statistics,
        }
        if wanted.uncertainty:
            body |= {"std": scored.stds, "intervals": scored.intervals}
        return Response(body, headers={MODEL_HEADER: str(model.pk)})


class RewardDialect(APIView):
    """One wire format: its body is read, scored like ours, and answered in its own way."""

    scope = READ
    dialect: ClassVar[str]

    def answer(self, request: SignedInRequest, slug: str, id: str | None) -> Response:
        """Score the body with the promoted version, or a given one, of a project."""
        model = _model(request, slug, id)
        if not isinstance(request.data, Mapping):
            raise InvalidInput("The body is not valid.", [FieldError("", "Expected an object.")])
        try:
            asked: Asked = DIALECTS[self.dialect](request.data)
        except DialectError as error:
            raise invalid_body(error) from error
        scored = scores.score(model=model, asked=asked, shaping=request.query_params.get("shaping", "none"))
        said = Rewarded(scored.rewards, scored.tokens, str(model.pk))
        return Response(asked.reply(said), headers={MODEL_HEADER: str(model.pk)})


class GetReward(RewardDialect):
    """OpenRLHF."""

    dialect = "get_reward"

    @extend_schema(parameters=PARAMETERS, request=GetRewardSerializer, responses=GotRewardSerializer)
    def post(self, request: SignedInRequest, slug: str, id: str | None = None) -> Response:
        """Give rewards as OpenRLHF's reward server does (`--reward.remote_url`)."""
        return self.answer(request, slug, id)


class Classify(RewardDialect):
    """vLLM and SGLang."""

    dialect = "classify"

    @extend_schema(parameters=PARAMETERS, request=ClassifySerializer, responses=RowsSerializer)
    def post(self, request: SignedInRequest, slug: str, id: str | None = None) -> Response:
        """Give rewards as vLLM's `/classify` does; for a body with `text` as SGLang's: `[{"embedding": [reward]}]`."""
        return self.answer(request, slug, id)


class PairScore(RewardDialect):
    """vLLM's pairs."""

    dialect = "score"

    @extend_schema(parameters=PARAMETERS, request=PairScoreSerializer, responses=RowsSerializer)
    def post(self, request: SignedInRequest, slug: str, id: str | None = None) -> Response:
        """Give rewards as vLLM's `/score` does: of prompts and responses."""
        return self.answer(request, slug, id)


class Rerank(RewardDialect):
    """vLLM's, Jina's, Cohere's and TEI's order."""

    dialect = "rerank"

    @extend_schema(
        parameters=PARAMETERS,
        request=RerankSerializer,
        responses=OpenApiResponse(OpenApiTypes.ANY, description="`results` with the best first; TEI's is a list."),
    )
    def post(self, request: SignedInRequest, slug: str, id: str | None = None) -> Response:
        """Order responses to a prompt as vLLM's `/rerank` does, or TEI's for a body with `texts`."""
        return self.answer(request, slug, id)


class Pooling(RewardDialect):
    """vLLM's raw outputs."""

    dialect = "pooling"

    @extend_schema(parameters=PARAMETERS, request=PoolingSerializer, responses=RowsSerializer)
    def post(self, request: SignedInRequest, slug: str, id: str | None = None) -> Response:
        """Give rewards as vLLM's `/pooling` does."""
        return self.answer(request, slug, id)


class Embeddings(RewardDialect):
    """What verl asks SGLang for."""

    dialect = "embeddings"

    @extend_schema(parameters=PARAMETERS, request=PoolingSerializer, responses=RowsSerializer)
    def post(self, request: SignedInRequest, slug: str, id: str | None = None) -> Response:
        """Give rewards as the embeddings of a reward model in SGLang: `data[0].embedding[0]`."""
        return self.answer(request, slug, id)


class Predict(RewardDialect):
    """Text Embeddings Inference."""

    dialect = "predict"

    @extend_schema(
        parameters=PARAMETERS,
        request=PredictSerializer,
        responses=OpenApiResponse(OpenApiTypes.ANY, description='`[{"score", "label"}]`, or a list of such.'),
    )
    def post(self, request: SignedInRequest, slug: str, id: str | None = None) -> Response:
        """Give rewards as TEI's `/predict` does; raw ones unless `raw_scores` is false."""
        return self.answer(request, slug, id)


class Verify(RewardDialect):
    """NeMo Gym."""

    dialect = "verify"

    @extend_schema(parameters=PARAMETERS, request=VerifySerializer, responses=VerifiedSerializer)
    def post(self, request: SignedInRequest, slug: str, id: str | None = None) -> Response:
        """Give the reward of a rollout as a NeMo Gym resources server does."""
        return self.answer(request, slug, id)


class ModelNames(APIView):
    """What clients list before they ask."""

    @extend_schema(responses=ModelNamesSerializer)
    def get(self, request: SignedInRequest, slug: str, id: str | None = None) -> Response:
        """Name the model behind this address."""
        model = _model(request, slug, id)
        row = {"id": str(model.pk), "object": "model", "created": int(model.created_at.timestamp())}
        return Response({"object": "list", "data": [{**row, "owned_by": slug}]})


class RewardHealth(APIView):
    """What clients wait for before they ask."""

    @extend_schema(responses={200: OpenApiResponse(description="There is a model, and the reward server answers.")})
    def get(self, request: SignedInRequest, slug: str, id: str | None = None) -> Response:
        """Answer 200 when there is a model and the reward server answers, 503 when it does not."""
        _model(request, slug, id)
        if not answers():
            raise RewardServerDown(str(HOW_TO_START), 5)
        return Response({})


def invalid_body(error: DialectError) -> InvalidInput:
    """Return what is wrong with a body as a problem."""
    return InvalidInput(error.detail, [FieldError(error.pointer, error.detail)])


def _model(request: SignedInRequest, slug: str, model_id: str | None) -> RewardModel:
    """Return a version of the project by its id, or the promoted one; raise Conflict when there is none."""
    project = get_project(request.user, slug, *SEES_RESULTS)
    if model_id is not None:
        versions = project.reward_models.select_related("scorer")
        return get_owned(request.user, versions, model_id, *SEES_RESULTS)
    model = current_model(project)
    if model is None:
        raise Conflict("The project has no promoted reward model yet; a version is at /rm/{project}/{id}/…")
    return model
