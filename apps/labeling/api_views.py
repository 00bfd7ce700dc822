"""REST: assignments for those who label, annotations for those who work with the results."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.core.api_views import Filter, ListView
from apps.core.errors import FieldError, InvalidInput
from apps.labeling import leasing, services
from apps.labeling.lookup import get_assignment, load_texts
from apps.labeling.models import Annotation, Assignment
from apps.labeling.oversight import answers_open_to
from apps.labeling.serializers import (
    AnnotationSerializer,
    AnswerSerializer,
    AssignmentSerializer,
    DraftBodySerializer,
    DraftSerializer,
    ReopenedSerializer,
    SkippedSerializer,
    SkipSerializer,
    SubmittedSerializer,
)
from apps.projects.access import LABELS, Role, get_membership, get_project

SEES_LABELS = (Role.MANAGER, Role.REVIEWER, Role.RESEARCHER)


class AssignmentLease(APIView):
    """Work for one person."""

    @extend_schema(
        request=None,
        responses={201: AssignmentSerializer, 204: OpenApiResponse(description="Nothing is left for this person.")},
    )
    def post(self, request: SignedInRequest, slug: str) -> Response:
        """Lease the next comparison; each call is a new lease, and 409 says that too many are open."""
        project = get_project(request.user, slug, *LABELS)
        leased = leasing.lease_next(project=project, annotator=request.user, resume=False)
        if leased is None:
            return Response(status=status.HTTP_204_NO_CONTENT)
        return Response(AssignmentSerializer(load_texts(leased)).data, status=status.HTTP_201_CREATED)


class AssignmentDraft(APIView):
    """What was typed so far."""

    @extend_schema(request=DraftBodySerializer, responses=DraftSerializer)
    def put(self, request: SignedInRequest, id: str) -> Response:
        """Keep an unfinished answer and prolong the lease; a lost lease keeps the draft all the same."""
        draft = services.save_draft(assignment=get_assignment(user=request.user, assignment_id=id), body=request.data)
        return Response(DraftSerializer(draft).data)


class AssignmentSubmit(APIView):
    """The finished answer."""

    @extend_schema(
        request=AnswerSerializer,
        responses={
            201: OpenApiResponse(SubmittedSerializer, description="Stored."),
            200: OpenApiResponse(SubmittedSerializer, description="The same answer was stored before."),
        },
    )
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Submit an answer. Sending it again changes nothing; another answer, or a comparison that is full, is 409."""
        assignment = get_assignment(user=request.user, assignment_id=id)
        again = assignment.state == Assignment.State.SUBMITTED and not assignment.is_reopened
        annotation = services.submit_annotation(assignment=assignment, body=request.data)
        reply_status = status.HTTP_200_OK if again else status.HTTP_201_CREATED
        return Response(SubmittedSerializer(annotation).data, status=reply_status)


class AssignmentReopen(APIView):
    """A submitted answer that its author wants to change."""

    @extend_schema(request=None, responses=ReopenedSerializer)
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Let another answer be submitted, as a new revision; 409 after the protocol's `undo_minutes`."""
        assignment = get_assignment(user=request.user, assignment_id=id)
        return Response(ReopenedSerializer(services.reopen_annotation(assignment=assignment)).data)


class AssignmentSkip(APIView):
    """A comparison that somebody cannot or should not label."""

    @extend_schema(request=SkipSerializer, responses=SkippedSerializer)
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Give the comparison back for others, with a reason; skipping twice changes nothing."""
        assignment = get_assignment(user=request.user, assignment_id=id)
        skipped = services.skip_assignment(assignment=assignment, **_reason(request.data))
        return Response(SkippedSerializer(skipped).data)


class AnnotationList(ListView):
    """Every annotation of a project, in canonical order; for managers, reviewers and researchers."""

    serializer_class = AnnotationSerializer
    filters = {"external_id": Filter("comparison__external_id")}

    def get_queryset(self) -> QuerySet[Annotation]:
        """Return the annotations of the project with the names they need; to reviewers, what is open to them."""
        membership = get_membership(self.request.user, self.kwargs["slug"], *SEES_LABELS)
        shown = membership.project.annotations.filter(answers_open_to(membership, "comparison__"))
        return shown.select_related("annotator", "guideline_version", "comparison", "assignment").only(
            *(field.attname for field in Annotation._meta.concrete_fields),
            "annotator__username",
            "annotator__imported_name",
            "guideline_version__number",
            "comparison__external_id",
            "assignment__propensity",
        )


def _reason(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidInput("A skip must be a JSON object.", [FieldError("", "Expected an object.")])
    unknown = sorted(set(body) - {"reason", "note"})
    if unknown:
        raise InvalidInput("There is no such field.", [FieldError(f"/{unknown[0]}", "There is no such field.")])
    return {"reason": body.get("reason"), "note": body.get("note", "")}
