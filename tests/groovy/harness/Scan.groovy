import org.codehaus.groovy.ast.CodeVisitorSupport
import org.codehaus.groovy.ast.ClassNode
import org.codehaus.groovy.ast.MethodNode
import org.codehaus.groovy.ast.builder.AstBuilder
import org.codehaus.groovy.ast.expr.ConstantExpression
import org.codehaus.groovy.ast.expr.ConstructorCallExpression
import org.codehaus.groovy.ast.expr.GStringExpression
import org.codehaus.groovy.ast.expr.MethodCallExpression
import org.codehaus.groovy.control.CompilePhase

/** What a source file calls, for the checks of what can't be seen by running it: sandbox, CPS, injection. */
class Scan extends CodeVisitorSupport {
    final File file
    final List<Map> calls = []
    final List<String> constructed = []
    final List<Integer> gstrings = []
    final Map<String, Boolean> methods = [:]
    private String method = ''
    private boolean isPlain = false

    Scan(File file) {
        this.file = file
        List nodes = new AstBuilder().buildFromString(CompilePhase.CONVERSION, false, file.text)
        nodes.findAll { it instanceof ClassNode }.each { ClassNode node -> node.methods.each { visitMethod(it) } }
        if (nodes[0]) {
            method = 'script'
            nodes[0].visit(this)
        }
    }

    private void visitMethod(MethodNode node) {
        method = node.name
        isPlain = node.annotations.any { it.classNode.nameWithoutPackage == 'NonCPS' }
        methods[node.name] = isPlain
        node.parameters.each { it.initialExpression?.visit(this) }
        node.code?.visit(this)
        isPlain = false
    }

    @Override
    void visitMethodCallExpression(MethodCallExpression call) {
        List<Integer> before = new ArrayList(gstrings)
        super.visitMethodCallExpression(call)
        if (call.lineNumber < 0) {
            return // the compiler's own
        }
        calls.add([name: call.methodAsString ?: call.method.text, line: call.lineNumber, inMethod: method, plain: isPlain,
                   implicit: call.implicitThis, gstrings: gstrings - before,
                   constant: call.arguments.expressions.every { it instanceof ConstantExpression }])
    }

    @Override
    void visitConstructorCallExpression(ConstructorCallExpression call) {
        super.visitConstructorCallExpression(call)
        constructed.add(call.type.name)
    }

    @Override
    void visitGStringExpression(GStringExpression text) {
        super.visitGStringExpression(text)
        gstrings.add(text.lineNumber)
    }

    String at(int line) {
        return file.name + ':' + line
    }
}
